//! The command line as its users meet it: what it refuses, what it says, and what it leaves behind.

#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Output};

const TRACE_HEADER: &str = "session,turn,prefix_len,input_len,output_len,wait_before_ms\n";

fn longhaul(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longhaul")).args(args).output().unwrap()
}

/// Runs a command that must fail with `code`, and returns what it said.
fn refused(code: i32, args: &[&str]) -> String {
    let out = longhaul(args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    said
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn wrong_usage_ends_with_2_and_names_the_argument() {
    for (args, named) in [
        (&["bench"][..], "<WORKLOAD>"),
        (&["bench", "no-such-workload"], "no-such-workload"),
        (&["bench", "trace"], "<FILE>"),
        (&["bench", "coding-loop", "--scale", "half"], "--scale"),
        (&["bench", "coding-loop", "--scale", "0"], "--scale"),
        (&["bench", "coding-loop", "--sessions", "0"], "--sessions"),
        (&["bench", "coding-loop", "--turns", "0"], "--turns"),
        (&["bench", "coding-loop", "--kv-budget", "lots"], "--kv-budget"),
        (&["bench", "coding-loop", "--kv", "f16"], "--kv"),
        (&["bench", "coding-loop", "--threads", "0"], "--threads"),
        (&["bench", "coding-loop", "--gap-scale", "-1"], "--gap-scale"),
        (&["bench", "coding-loop", "some-file.csv"], "only the workload `trace` takes a FILE"),
        (&["bench", "coding-loop", "--synthetic", "gpt-7"], "--synthetic"),
        (&["bench", "coding-loop", "--model", "a", "--synthetic", "smollm2-135m"], "--synthetic"),
        (&["generate"], "--prompt"),
        (&["generate", "--prompt", "a", "--chat", "b"], "--chat"),
        (&["generate", "--prompt", "a", "--prompt-file", "b"], "--prompt-file"),
        (&["generate", "--prompt", "a", "--max-tokens", "0"], "--max-tokens"),
        (&["generate", "--prompt", "a", "--deadline", "-1"], "--deadline"),
    ] {
        let said = refused(2, args);
        assert!(said.contains(named), "{args:?}: {said}");
    }
}

#[test]
fn a_prompt_comes_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "prompt", "ab");
    let generate = ["generate", "--synthetic", "smollm2-135m", "--max-tokens", "1", "--json", "--prompt-file"];
    let from_file = longhaul(&[&generate[..], &[&file]].concat());
    let mut child = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    child.args(generate).arg("-").stdin(std::fs::File::open(&file).unwrap());
    for out in [from_file, child.output().unwrap()] {
        let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(answer["prompt_tokens"], 2);
    }
    let invalid = folder.path().join("invalid");
    std::fs::write(&invalid, [0x61, 0xff]).unwrap();
    let said = refused(1, &["generate", "--synthetic", "smollm2-135m", "--prompt-file", invalid.to_str().unwrap()]);
    assert!(said.contains("UTF-8") && said.contains("invalid"), "{said}");
}

#[test]
fn a_trace_that_is_wrong_is_told_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (lines, want) in [
        ("0,0,0,10,5,0\n0,1,10,-3,5,0\n", "line 3: input_len is -3"),
        ("0,0,0,10,5,0\n0,2,10,3,5,0\n", "line 3: session 0 has turn 2 where turn 1 must come"),
        ("0,0,0,10,5,0\n0,1,11,3,5,0\n", "line 3: prefix_len is 11"),
        ("garbage\n", "line 2: 1 fields"),
    ] {
        let trace = write(folder.path(), "trace.csv", &format!("{TRACE_HEADER}{lines}"));
        let said = refused(1, &["bench", "trace", &trace, "--scale", "1", "--out", out.to_str().unwrap()]);
        assert!(said.contains(want), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    }
    assert!(!out.exists(), "nothing may be made for a run that cannot start");
    let said = refused(1, &["bench", "trace", "no/such/trace.csv"]);
    assert!(said.contains("no/such/trace.csv"), "{said}");
}

#[test]
fn what_cannot_be_run_is_refused() {
    let said = refused(1, &["bench", "coding-loop", "--scale", "1/16", "--context", "1000"]);
    assert!(said.contains("smaller --scale"), "{said}");
    let said = refused(1, &["generate", "--chat", "a", "--synthetic", "smollm2-135m"]);
    assert!(said.contains("chat template"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_written_is_found_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // A file in its place refuses writing to root too, whom no permission stops.
    let file = write(folder.path(), "file", "");
    let said = refused(1, &["bench", "coding-loop", "--out", &format!("{file}/report")]);
    assert!(said.contains("no report can be written here") && said.contains("--out"), "{said}");
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, out) = (folder.path().join("no-model"), folder.path().join("out"));
    let missing = missing.to_str().unwrap();
    for args in [
        &["bench", "coding-loop", "--model", missing, "--out", out.to_str().unwrap()][..],
        &["generate", "--prompt", "a", "--model", missing],
        &["doctor", "--model", missing],
    ] {
        let said = refused(1, args);
        assert!(said.contains("no-model"), "{args:?}: {said}");
    }
}

#[test]
fn doctor_tells_of_tables_memory_and_models() {
    let out = longhaul(&["doctor", "--json"]);
    assert!(out.status.success());
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let tables = found["tables"].as_array().unwrap();
    assert!(tables.iter().any(|t| t["name"] == "portable" && t["available"] == true), "{tables:?}");
    assert_eq!(tables.iter().filter(|t| t["chosen"] == true).count(), 1, "{tables:?}");
    assert!(
        tables.iter().all(|t| t["available"] == true || t["why"].as_str().is_some_and(|why| !why.is_empty())),
        "{tables:?}"
    );
    let small = found["models"].as_array().unwrap().iter().find(|m| m["name"] == "synthetic smollm2-135m").unwrap();
    // 2 (k and v) * 30 layers * 3 heads * 64 elements * 2 bytes.
    assert_eq!(small["kv_bytes_per_token"], 23_040);
    let text = String::from_utf8(longhaul(&["doctor"]).stdout).unwrap();
    assert!(text.contains("cpu/portable") && text.contains("23040 bytes"), "{text}");
}

/// Runs `doctor` with these variables of Neuron and no others.
fn doctor(args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    command.arg("doctor").args(args);
    for (name, _) in std::env::vars_os() {
        if ["NEURON", "FAKE_NRT", "LONGHAUL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let out = command.envs(variables.iter().copied()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The words of a table, without its lines and breaks.
fn words(table: &str) -> String {
    let text: String = table.chars().map(|c| if ('\u{2500}'..'\u{2580}').contains(&c) { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn doctor_tells_of_libnrt() {
    let library = fake_nrt::client::library("2_31");
    let library = library.to_str().unwrap();
    let variables = [("LONGHAUL_LIBNRT", library), ("NEURON_RT_VISIBLE_CORES", "2-4"), ("FAKE_NRT_CORES", "16")];
    let found: serde_json::Value = serde_json::from_str(&doctor(&["--json"], &variables)).unwrap();
    let neuron = &found["neuron"];
    assert_eq!(
        (&neuron["library"]["path"], &neuron["library"]["found_by"]),
        (&library.into(), &"LONGHAUL_LIBNRT".into())
    );
    assert_eq!((&neuron["library"]["version"]["minor"], &neuron["library"]["sdk"]), (&31.into(), &"2.29".into()));
    assert_eq!((&neuron["tested_on_stand_in"], &neuron["family"]), (&true.into(), &"trn2".into()));
    let cores = [&neuron["library"]["total_cores"]["Ok"], &neuron["library"]["visible_cores"]["Ok"]];
    assert_eq!(cores, [&serde_json::json!(16), &serde_json::json!(3)]);
    assert_eq!(neuron["library"]["missing_symbols"], serde_json::json!(["nrt_get_status_as_str"]));
    let text = words(&doctor(&[], &variables));
    for part in [
        "2.31.24.0, of SDK 2.29; tested on a stand-in, not on hardware",
        "missing functions nrt_get_status_as_str",
        "instance trn2, size 0",
        "16 on this instance; for this process: 3",
        "device memory not known: nrt_get_vnc_memory_stats failed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let minimal = fake_nrt::client::library("minimal");
    let text = words(&doctor(&[], &[("LONGHAUL_LIBNRT", minimal.to_str().unwrap())]));
    assert!(text.contains("not one that is known here: not tested at all"), "{text}");
    assert!(text.contains("instance not known: libnrt") && text.contains("has no nrt_get_instance_info"), "{text}");
}

#[test]
fn doctor_tells_where_libnrt_was_looked_for() {
    let variables = [("LONGHAUL_LIBNRT", "/nowhere/libnrt.so.1")];
    let found: serde_json::Value = serde_json::from_str(&doctor(&["--json"], &variables)).unwrap();
    assert_eq!(
        (&found["neuron"]["library"], &found["neuron"]["why"]),
        (&().into(), &"no libnrt that can be used".into())
    );
    assert_eq!(found["neuron"]["tried"][0]["path"], "/nowhere/libnrt.so.1");
    let text = words(&doctor(&[], &variables));
    assert!(text.contains("libnrt no libnrt that can be used"), "{text}");
    assert!(text.contains("looked at /nowhere/libnrt.so.1 (LONGHAUL_LIBNRT): no such file"), "{text}");
}

#[test]
fn doctor_tells_of_compiled_programs() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let variables = [("LONGHAUL_LIBNRT", "/nowhere"), ("LONGHAUL_PROGRAMS", dir)];
    let text = words(&doctor(&[], &variables));
    assert!(
        text.contains("programs none in") && text.contains("(LONGHAUL_PROGRAMS)") && text.contains("manifest.json"),
        "{text}"
    );
    let program = |m: u64| {
        serde_json::json!({
            "kernel": "matmul", "arguments": {"m": m}, "tensors": [], "target": "trn2", "lnc": 1, "compiler": "2.28.1", "nki": "0.7.0",
            "key": format!("{m:064}"), "neff": format!("matmul-{m}.neff"), "sha256": "0".repeat(64),
        })
    };
    let manifest = serde_json::json!({"schema": 1, "programs": [program(1), program(4)]});
    write(folder.path(), "manifest.json", &manifest.to_string());
    let found: serde_json::Value = serde_json::from_str(&doctor(&["--json"], &variables)).unwrap();
    let programs = &found["neuron"]["programs"];
    assert_eq!((&programs["dir"], &programs["n_programs"], &programs["why"]), (&dir.into(), &2.into(), &().into()));
    assert_eq!((&programs["kinds"][0]["kernel"], &programs["kinds"][0]["n_programs"]), (&"matmul".into(), &2.into()));
    let text = words(&doctor(&[], &variables));
    assert!(text.contains("2 matmul for trn2, LNC 1, compiler 2.28.1"), "{text}");
    let text = words(&doctor(&[], &variables[..1]));
    assert!(text.contains("in programs (default)"), "{text}");
}

#[test]
fn doctor_tells_of_a_compiled_program() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/golden/stand-in.neff");
    let golden = golden.to_str().unwrap();
    let out = longhaul(&["doctor", "--neff", golden, "--json"]);
    assert!(out.status.success());
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&found["target"], &found["header"]["lnc"], &found["n_cores"]), (&"trn2".into(), &1.into(), &1.into()));
    assert_eq!((&found["hash"], &found["compiler"]), (&"right".into(), &"stand-in 1".into()));
    assert_eq!(found["tensors"][0]["shape"], serde_json::json!([128, 3, 4]));
    let text = String::from_utf8(longhaul(&["doctor", "--neff", golden]).stdout).unwrap();
    for part in ["trn2 (cayman)", "hash: right", "matmul with k = 192", "weights", "[128, 3, 2, 128]", "196608"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.neff");
    let mut bytes = std::fs::read(golden).unwrap();
    bytes[172] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let out = longhaul(&["doctor", "--neff", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1), "its hash is wrong");
    assert!(String::from_utf8_lossy(&out.stdout).contains("hash: WRONG"));
    bytes.truncate(1500);
    std::fs::write(&path, &bytes).unwrap();
    let said = refused(1, &["doctor", "--neff", path.to_str().unwrap()]);
    assert!(said.contains("changed.neff: cut off"), "{said}");
    assert!(refused(1, &["doctor", "--neff", "no/such.neff"]).contains("no/such.neff"));
}

#[test]
fn a_trace_reaches_its_ideal_and_leaves_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let lines = "0,0,0,70,3,0\n0,1,64,20,3,0\n1,0,0,40,2,0\n0,2,80,9,2,0\n1,1,40,0,2,0\n";
    let trace = write(folder.path(), "trace.csv", &format!("{TRACE_HEADER}{lines}"));
    let args =
        ["bench", "trace", &trace, "--synthetic", "smollm2-135m", "--scale", "1", "--kv-budget", "64MiB", "--json"];
    let done = longhaul(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(printed, written);
    // 64 + 80 + (40 - 1, as the last token of a known prompt is computed for its logits) of 70 + 84 + 40 + 89 + 40.
    assert_eq!(written["prompt_tokens"], serde_json::json!({"prompt": 323, "cached": 183, "ideal": 183}));
    assert_eq!(written["memory"]["back_to_start"], true);
    assert_eq!(written["turns"].as_array().unwrap().len(), 5);
    assert_eq!(written["identity"]["synthetic"], true);
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("</html>"));
}

/// Runs a workload small and returns its report.
fn bench(workload: &str, args: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let fixed = ["bench", workload, "--synthetic", "smollm2-135m", "--scale", "1/512", "--json", "--out", &out];
    let done = longhaul(&[&fixed[..], args].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn keeping_an_idle_session_caches_what_recomputing_pays_for() {
    let report = bench("idle-resume", &["--turns", "2"]);
    let turns = report["turns"].as_array().unwrap();
    let resumed: Vec<_> = turns.iter().filter(|t| t["kind"] == "resume").collect();
    assert_eq!(resumed.len(), 6);
    for turn in resumed {
        let want = if turn["group"] == "keep" { &turn["ideal_tokens"] } else { &serde_json::json!(0) };
        assert_eq!(&turn["cached_tokens"], want, "{turn}");
        assert!(turn["ideal_tokens"].as_u64().unwrap() > 100, "{turn}");
    }
    assert_eq!(report["memory"]["back_to_start"], true);
}

#[test]
fn subagents_share_their_parents_prefix_and_leave_nothing_behind() {
    let report = bench("fan-out", &["--turns", "2"]);
    let turns = report["turns"].as_array().unwrap();
    for group in ["supervisor", "researcher", "coder", "subagent"] {
        assert!(turns.iter().any(|t| t["group"] == group), "{group}");
    }
    let tokens = &report["prompt_tokens"];
    assert_eq!(tokens["cached"], tokens["ideal"], "{tokens}");
    assert_eq!(report["memory"]["back_to_start"], true);
}

#[test]
fn a_session_of_which_nothing_fits_is_no_job() {
    // The coder's first prompt is longer than this, the supervisor's is not.
    let report = bench("fan-out", &["--turns", "2", "--context", "9000"]);
    let sessions = report["sessions"].as_array().unwrap();
    assert!(sessions.iter().any(|s| s["group"] == "supervisor"));
    assert!(sessions.iter().all(|s| s["planned_turns"].as_u64().unwrap() > 0), "{sessions:?}");
}

/// Ctrl-C in the middle: the report of what ran is written and says so.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_benchmark_still_reports() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    // The second turn waits for an hour, so that the run is certain to be in it.
    let trace = write(folder.path(), "trace.csv", &format!("{TRACE_HEADER}0,0,0,20,2,0\n0,1,20,5,2,3600000\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    command.args(["bench", "trace", &trace, "--synthetic", "smollm2-135m", "--scale", "1", "--gap-scale", "1"]);
    command.args(["--kv-budget", "64MiB", "--json", "--out", out.to_str().unwrap()]).env("LONGHAUL_LOG", "off");
    let mut run = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(run.id()).unwrap();
    let catches = || caught_signals(pid).is_some_and(|mask| mask & (1 << (libc::SIGINT - 1)) != 0);
    while !catches() && run.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // SAFETY: `kill` touches no memory, and `pid` is a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["interrupted"], true);
    assert!(report["turns"].as_array().unwrap().len() < 2);
    assert!(out.join("report.html").is_file());
}

/// The signals that a process catches.
#[cfg(target_os = "linux")]
fn caught_signals(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[test]
fn generate_speaks_json_and_bytes() {
    let args = ["generate", "--synthetic", "smollm2-135m", "--prompt", "hello", "--max-tokens", "4", "--ignore-end"];
    let out = longhaul(&[&args[..], &["--json", "--kv-budget", "64MiB"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&answer["prompt_tokens"], &answer["generated_tokens"]), (&5.into(), &4.into()));
    assert_eq!(answer["tokens"].as_array().unwrap().len(), 4);
    assert_eq!(answer["finish"], "max tokens");
}

/// A folder with a random model of 64 tokens, and a tokenizer of as many letters that wants `<bos>` before a text.
fn folder_with_begin_token() -> tempfile::TempDir {
    use longhaul::spec::{Synthetic, WeightSource, hf_config, tensors};
    use serde_json::json;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "torch_dtype": "bfloat16"
    });
    let model = hf_config::parse(&config.to_string(), None).unwrap();
    let weights = Synthetic::from_config(model.clone(), 1);
    let specs = tensors::expected(&model);
    let views = specs.iter().map(|spec| weights.tensor(&spec.name).unwrap()).collect::<Vec<_>>();
    let views = views.iter().map(|view| {
        let shape = if view.k == 1 { vec![view.n] } else { vec![view.n, view.k] };
        (view.name, safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape, &view.bytes).unwrap())
    });
    let letters: serde_json::Map<_, _> = ('A'..).take(63).enumerate().map(|(i, c)| (c.to_string(), i.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": {"type": "Fuse"},
        "added_tokens": [{"id": 63, "content": "<bos>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": {"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [63], "tokens": ["<bos>"]}}},
        "model": {"type": "WordLevel", "vocab": letters, "unk_token": "A"}
    });
    let dir = tempfile::tempdir().unwrap();
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    write(dir.path(), "config.json", &config.to_string());
    write(dir.path(), "tokenizer.json", &tokenizer.to_string());
    dir
}

#[test]
fn a_plain_prompt_begins_as_the_tokenizer_wants() {
    let folder = folder_with_begin_token();
    let model = folder.path().to_str().unwrap();
    let out = longhaul(&["generate", "--model", model, "--prompt", "ABC", "--max-tokens", "1", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(answer["prompt_tokens"], 4, "three letters behind <bos>");
}
