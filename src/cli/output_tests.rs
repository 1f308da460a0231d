//! Errors as a person meets them, and report files that are whole or not there.

use std::path::PathBuf;

use anyhow::anyhow;

use super::*;
use crate::redact::Redactor;
use crate::report::sample;

fn said(failed: &anyhow::Error) -> String {
    let (screen, written) = Screen::recording();
    let exit = error(&screen, failed);
    format!("{}exit: {exit}", written.text())
}

#[test]
fn an_error_says_what_why_and_what_now() {
    let explained: anyhow::Result<()> = Err(anyhow!("connection refused\n\u{1b}[2Jsecond line"))
        .map_err(|error: anyhow::Error| error.context("connecting to /run/buildkit/buildkitd.sock"))
        .explain(
            Kind::Environment,
            "could not reach the builder",
            "start it with `systemctl start buildkit`, or name another with --builder",
        );
    insta::assert_snapshot!(said(&explained.expect_err("it failed")), @"
    error: could not reach the builder
    caused by: connecting to /run/buildkit/buildkitd.sock
    caused by: connection refused
      second line
    hint: start it with `systemctl start buildkit`, or name another with --builder
    exit: 3
    ");
}

#[test]
fn context_above_an_explanation_keeps_its_hint_and_its_exit_code() {
    let error = Failure::new(Kind::Build, "step 3 failed", "look at its log").context("building target `app`");
    insta::assert_snapshot!(said(&error), @"
    error: building target `app`
    caused by: step 3 failed
    hint: look at its log
    exit: 4
    ");
}

#[test]
fn an_error_nobody_explained_is_one_of_the_environment() {
    insta::assert_snapshot!(said(&anyhow!("out of luck")), @"
    error: out of luck
    exit: 3
    ");
}

fn to(format: Format, file: PathBuf) -> ReportTo {
    ReportTo { format, file: Some(file) }
}

#[test]
fn a_report_of_an_earlier_run_is_gone_before_this_one_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    fs::write(&file, "{\"verdict\": \"warm\"}").expect("it is written");

    clear_the_way(&[to(Format::Json, file.clone())]).expect("the folder takes files");
    assert!(!file.exists());
    assert_eq!(fs::read_dir(folder.path()).expect("it is a folder").count(), 0, "nothing else is left behind");

    reports(&sample::warm(), &[to(Format::Json, file.clone())], &Redactor::default()).expect("it is written");
    let written: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("it is there")).expect("it is JSON");
    assert_eq!(written["verdict"], "warm");
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_the_work_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let lost = to(Format::Text, folder.path().join("absent/report.txt"));
    let early = clear_the_way(std::slice::from_ref(&lost)).expect_err("there is no such folder");
    assert!(early.to_string().starts_with("could not prepare the report file "), "{early}");

    let kept = to(Format::Text, folder.path().join("kept.txt"));
    let late =
        reports(&sample::warm(), &[lost, kept.clone()], &Redactor::default()).expect_err("there is no such folder");
    assert_eq!(Failure::of(&late).map(|failure| failure.kind), Some(Kind::Environment));
    assert!(kept.file.expect("it has one").exists(), "the other report is written all the same");
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let null = to(Format::Text, "/dev/null".into());
    clear_the_way(std::slice::from_ref(&null)).expect("there is nothing to clear");
    reports(&sample::warm(), &[null], &Redactor::default()).expect("it takes everything");
    assert!(is_special(Path::new("/dev/null")));
}

#[test]
fn only_what_is_warm_is_a_success_and_who_sees_no_text_report_is_told_the_first_reason() {
    let (screen, written) = Screen::recording();
    let to_file = [ReportTo { format: Format::Text, file: Some(PathBuf::from("report.txt")) }];
    let mut report = sample::warm();
    assert_eq!((verdict(&screen, &report, &to_file), written.text().as_str()), (0, ""));
    report.head.verdict = report::Verdict::NotWarm;
    report.head.reasons = vec!["2 layers are lazy".to_owned(), "and more".to_owned()];
    let to_stdout = [ReportTo { format: Format::Text, file: None }];
    assert_eq!((verdict(&screen, &report, &to_stdout), written.text().as_str()), (5, ""));
    assert_eq!(verdict(&screen, &report, &to_file), 5);
    report.head.verdict = report::Verdict::NotVerified;
    assert_eq!(verdict(&screen, &report, &[]), 5);
    assert_eq!(written.text(), "not warm: 2 layers are lazy\nnot verified on disk: 2 layers are lazy\n");
}
