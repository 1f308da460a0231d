//! Dockerfiles as people write them.

use proptest::prelude::*;

use super::*;

fn git_lines(text: &str) -> Vec<usize> {
    scan(text).git_uses.into_iter().map(|git_use| git_use.line).collect()
}

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
fn copying_git_from_the_context_is_found_with_its_line() {
    assert_eq!(
        git_lines("FROM a\n\ncopy .git /x\nADD --chown=1:1 ./.git/HEAD b/ /y/\nCOPY [\"a\", \".git\", \"/z\"]"),
        [3, 4, 5]
    );
    assert_eq!(git_lines("FROM a\nCOPY .git* ./"), [2]);
    assert_eq!(git_lines("FROM a\nONBUILD COPY .git /x"), [2]);
}

#[test]
fn what_only_looks_like_git_is_left_alone() {
    let text = "FROM a\nCOPY .gitignore my.git /x/\nCOPY --from=build /src/.git /x\nADD https://e.com/a.git /x\nCOPY src /app/.git\nRUN ls .git";
    assert_eq!(git_lines(text), Vec::<usize>::new());
}

#[test]
fn mounting_git_is_found_and_mounting_the_whole_context_is_not() {
    let text = "FROM a\nRUN --mount=type=bind,target=/src make\nRUN --mount=type=bind,source=.git,target=/g make\n\
                RUN --network=none --mount=target=/src/.git,src=.git x\nRUN --mount=type=cache,target=/x/.git y\n\
                RUN --mount=type=bind,from=build,source=/src/.git,target=/g z";
    assert_eq!(git_lines(text), [3, 4]);
}

#[test]
fn an_instruction_is_reported_whole_and_by_its_first_line() {
    let scan = scan("FROM a\nCOPY \\\n  # why\n\n  .git \\\n  /x\nRUN b");
    assert_eq!(scan.git_uses, [GitUse { line: 2, text: "COPY .git /x".into() }]);
}

#[test]
fn heredocs_are_no_instructions() {
    let text = "FROM a\nRUN <<EOF cat <<-'X'\nARG HIDDEN\nEOF\nCOPY .git /x\n\tX\nCOPY <<a.txt <<b.txt /d/\nARG A\na.txt\nARG B\nb.txt\nARG SEEN\nRUN echo $((1<<2)) <<<x\nARG SEEN_TOO";
    assert_eq!(args(text), ["SEEN", "SEEN_TOO"]);
    assert_eq!(git_lines(text), Vec::<usize>::new());
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
        prop_assert!(found.git_uses.iter().all(|git_use| git_use.line <= text.lines().count()));
    }
}
