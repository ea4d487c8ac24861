use std::io::Write;

use super::super::plan::{Plan, Prompt, WorkloadOptions};
use super::super::scale::Scale;
use super::super::tokens::{Minter, Transcript};
use super::plan;
use crate::error::Result;
use crate::spec::TokenId;

const HEADER: &str = "session,turn,prefix_len,input_len,output_len,wait_before_ms\n";

fn options(scale: &str, max_len: usize) -> WorkloadOptions {
    let scale = scale.parse().unwrap();
    WorkloadOptions { seed: 5, scale, gap_scale: 0.0, n_sessions: None, n_turns: None, context: None, max_len }
}

fn plan_of(text: &str, options: &WorkloadOptions) -> Result<Plan> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    plan(file.path(), options)
}

fn error_of(lines: &str) -> String {
    plan_of(lines, &options("1", 100_000)).unwrap_err().to_string()
}

fn shared(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[test]
fn a_wrong_line_is_named_with_its_number() {
    let cases = [
        ("0,0,0,10,5,0\n0,1,10,-3,5,0\n", "line 3: input_len is -3"),
        ("0,0,0,10,-5,0\n", "line 2: output_len is -5"),
        ("0,0,0,10,5,0\n0,2,10,3,5,0\n", "line 3: session 0 has turn 2 where turn 1 must come"),
        ("0,1,0,10,5,0\n", "line 2: session 0 has turn 1 where turn 0 must come"),
        ("0,0,0,10,5,0\n0,1,11,3,5,0\n", "line 3: prefix_len is 11, and session 0 has seen 10"),
        ("7,0,4,10,5,0\n", "line 2: prefix_len is 4, and session 7 has seen 0"),
        ("0,0,0,0,5,0\n", "line 2: the prompt is empty"),
        ("0,0,0,ten,5,0\n", "line 2: field 4: invalid digit"),
        ("0,0,0,10,5,0\n\nnonsense\n", "line 4: 1 fields where the header has 6"),
        ("0,0,0,99999999999999,5,0\n", "line 2: input_len is 99999999999999, which is beyond any context"),
    ];
    for (lines, want) in cases {
        let error = error_of(&format!("{HEADER}{lines}"));
        assert!(error.contains(want), "{error:?} for {want:?}");
    }
    assert!(error_of("a,b\n1,2\n").contains("line 1: the header has no column \"session\""));
    assert!(error_of("").contains("line 1"));
    assert!(error_of(HEADER).contains("no turn"));
}

#[test]
fn a_wrong_mooncake_line_is_named_with_its_number() {
    let good = r#"{"timestamp": 5, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]}"#;
    let cases = [
        (r#"{"timestamp": 4, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]}"#, "out of order"),
        (r#"{"timestamp": 6, "input_length": -600, "output_length": 3, "hash_ids": [1, 2]}"#, "input_length is -600"),
        (
            r#"{"timestamp": 6, "input_length": 600, "output_length": 3, "hash_ids": [1]}"#,
            "1 hash ids, where a prompt of 600",
        ),
        (r#"{"timestamp": 6, "input_length": 0, "output_length": 3, "hash_ids": []}"#, "the prompt is empty"),
        (r#"{"timestamp": 6, "input_length": 600"#, "EOF"),
        (r#"{"timestamp": 6}"#, "missing field `input_length`"),
    ];
    for (line, want) in cases {
        let error = error_of(&format!("{good}\n{line}\n"));
        assert!(error.contains("line 2: ") && error.contains(want), "{error:?} for {want:?}");
    }
}

#[test]
fn scaled_prompts_share_exactly_the_scaled_prefix() {
    let lines =
        "0,0,0,1003,50,0\n0,1,992,333,40,0\n0,2,1312,77,30,0\n0,3,1000,5,8,0\n0,4,1388,100,8,0\n1,0,0,500,9,0\n";
    let scale: Scale = "1/16".parse().unwrap();
    let plan = plan_of(&format!("{HEADER}{lines}"), &options("1/16", 100_000)).unwrap();
    assert_eq!(plan.sessions.len(), 2);
    let minter = Minter::new(plan.seed, 500);
    let mut prompts = Vec::new();
    for session in &plan.sessions {
        let mut transcript = Transcript::default();
        for turn in &session.turns {
            let Prompt::Whole { source, prefix_len, fresh_len } = turn.prompt else { panic!("{turn:?}") };
            prompts.push(transcript.push(&minter, session.idx, (source, prefix_len), fresh_len).unwrap());
            assert_eq!(prompts.last().unwrap().len(), turn.prompt_len);
        }
    }
    assert_eq!(shared(&prompts[0], &prompts[1]), scale.total(992));
    assert_eq!(shared(&prompts[1], &prompts[2]), scale.total(1312));
    let longest = prompts[..3].iter().map(|p| shared(p, &prompts[3])).max();
    assert_eq!(longest, Some(scale.total(1000)));
    let longest = prompts[..4].iter().map(|p| shared(p, &prompts[4])).max();
    assert_eq!(longest, Some(scale.total(1388)));
    assert_eq!(shared(&prompts[0], &prompts[5]), 0);
    let outputs: usize = plan.sessions[0].turns[..3].iter().map(|t| t.output_len).sum();
    assert_eq!(outputs, scale.total(120));
}

#[test]
fn a_prompt_that_is_known_whole_computes_one_token() {
    let plan = plan_of(&format!("{HEADER}0,0,0,64,5,0\n0,1,64,0,5,0\n"), &options("1", 1_000)).unwrap();
    assert_eq!(plan.ideal(), (63, 128));
}

#[test]
fn a_session_ends_at_the_cap_and_says_so() {
    let lines = "0,0,0,90,5,0\n0,1,90,6,4,0\n0,2,96,1,4,0\n1,0,0,200,5,0\n2,0,0,50,5,0\n";
    let plan = plan_of(&format!("{HEADER}{lines}"), &options("1", 100)).unwrap();
    assert_eq!(plan.sessions.iter().map(|s| s.turns.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(plan.notes.len(), 1);
    assert!(plan.notes[0].contains("2 sessions end early, 2 turns left out"), "{:?}", plan.notes);
    assert!(plan_of(&format!("{HEADER}1,0,0,200,5,0\n"), &options("1", 100)).is_err());
}

#[test]
fn mooncake_prompts_share_the_blocks_that_their_ids_say() {
    let lines = [
        r#"{"timestamp": 0, "input_length": 1000, "output_length": 3, "hash_ids": [1, 2]}"#,
        r#"{"timestamp": 0, "input_length": 1500, "output_length": 3, "hash_ids": [1, 2, 3]}"#,
        r#"{"timestamp": 7, "input_length": 1100, "output_length": 3, "hash_ids": [1, 4, 5]}"#,
        r#"{"timestamp": 9, "input_length": 1500, "output_length": 3, "hash_ids": [1, 2, 3]}"#,
        r#"{"timestamp": 9, "input_length": 100, "output_length": 3, "hash_ids": [6]}"#,
    ];
    let plan = plan_of(&lines.join("\n"), &options("1", 100_000)).unwrap();
    let minter = Minter::new(plan.seed, 5);
    let prompts = plan.sessions.iter().map(|s| match &s.turns[0].prompt {
        Prompt::Blocks(blocks) => minter.blocks(blocks).unwrap(),
        other => panic!("{other:?}"),
    });
    let prompts: Vec<_> = prompts.collect();
    for (i, session) in plan.sessions.iter().enumerate() {
        let turn = &session.turns[0];
        assert_eq!(prompts[i].len(), turn.prompt_len);
        let longest = prompts[..i].iter().map(|p| shared(p, &prompts[i])).max().unwrap_or(0);
        assert_eq!(longest.min(turn.prompt_len - 1), turn.ideal_cached, "request {i}");
    }
    assert_eq!(plan.sessions.iter().map(|s| s.turns[0].ideal_cached).collect::<Vec<_>>(), [0, 1000, 512, 1499, 0]);
}
