//! Dockerfiles as people write them.

use proptest::prelude::*;

use super::*;

fn args(text: &str) -> Vec<String> {
    scan(text).args.into_iter().collect()
}

#[test]
fn the_syntax_line_names_the_frontend_only_at_the_top() {
    let syntax = |text: &str| scan(text).syntax;
    assert_eq!(syntax("# syntax=docker/dockerfile:1\nFROM a"), Some("docker/dockerfile:1".into()));
    assert_eq!(
        syntax("#!/usr/bin/env x\n# escape=`\n#  Syntax = r.example/f:1 --flag\nFROM a"),
        Some("r.example/f:1".into())
    );
    assert_eq!(syntax("# a comment\n# syntax=docker/dockerfile:1\nFROM a"), None);
    assert_eq!(syntax("FROM a\n# syntax=docker/dockerfile:1"), None);
}

#[test]
fn heredocs_are_no_instructions() {
    let text = "FROM a\nRUN <<EOF cat <<-'X'\nARG HIDDEN\nEOF\nCOPY .git /x\n\tX\nCOPY <<a.txt <<b.txt /d/\nARG A\na.txt\nARG B\nb.txt\nARG SEEN\nRUN echo $((1<<2)) <<<x\nARG SEEN_TOO";
    assert_eq!(args(text), ["SEEN", "SEEN_TOO"]);
}

#[test]
fn the_escape_directive_changes_what_continues_a_line() {
    assert_eq!(args("# escape=`\nFROM a\nRUN dir c:\\\nARG A=`\nARG"), ["A"]);
    assert_eq!(args("FROM a\nRUN dir c:\\\nARG A"), Vec::<String>::new());
}

#[test]
fn args_are_found_wherever_they_are_declared() {
    assert_eq!(args("arg BASE=alpine\nFROM $BASE\nARG A B=\"x y\" \\\n  C='z'\nENV D=1"), ["A", "B", "BASE", "C"]);
}

#[test]
fn a_build_arg_nothing_takes_is_told_from_those_that_mean_something_by_themselves() {
    let given =
        ["A", "VERSON", "http_proxy", "NO_PROXY", "SOURCE_DATE_EPOCH", "BUILDKIT_INLINE_CACHE", "TARGETARCH", "BUILDX"];
    assert_eq!(scan("FROM a\nARG A").unconsumed(given), ["VERSON", "BUILDX"]);
    assert_eq!(scan("# syntax=docker/dockerfile-upstream:master\nFROM a").unconsumed(["X"]), ["X"]);
    assert!(scan("# syntax=r.example/other-frontend:1\nFROM a").unconsumed(["X"]).is_empty());
}

proptest! {
    #[test]
    fn no_text_makes_us_panic(text in "(# (syntax|escape)=[`\\\\a]\n)?([A-Z]{0,5}|RUN|COPY|ARG|ADD|<<|<<-|\\PC|[ \t\r\n\"'\\\\`=\\[\\],#-]){0,40}") {
        let found = scan(&text);
        prop_assert!(found.args.iter().map(String::len).sum::<usize>() <= text.len());
    }
}
