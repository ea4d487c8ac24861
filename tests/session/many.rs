//! Many sessions on one engine.

use std::sync::Barrier;

use crate::tiny::{alone, bits, engine, greedy, prompt, prompted};

const N_THREADS: usize = 8;
const N_SESSIONS: usize = 200;

/// Prompts of many lengths, some the beginning of others.
fn tokens(session: usize) -> Vec<u32> {
    prompt(session as u32 % 50, 1 + session * 7 % 400)
}

#[test]
fn two_hundred_sessions_at_once_give_what_each_gives_alone() {
    let engine = engine(1_000);
    let together = Barrier::new(N_THREADS);
    let drawn: Vec<_> = std::thread::scope(|scope| {
        let worker = |thread: usize| {
            let (engine, together) = (&engine, &together);
            move || {
                let own = thread * (N_SESSIONS / N_THREADS)..(thread + 1) * (N_SESSIONS / N_THREADS);
                let mut sessions: Vec<_> = own.map(|i| prompted(engine, &tokens(i))).collect();
                together.wait();
                assert_eq!(engine.stats().live_sessions, N_SESSIONS);
                let running: Vec<_> = sessions.iter_mut().map(|s| s.generate(greedy(20)).unwrap()).collect();
                let read = running.into_iter().map(|g| g.map(|g| bits(&g.unwrap())).collect::<Vec<_>>());
                let drawn: Vec<_> = read.collect();
                together.wait();
                drawn
            }
        };
        let threads: Vec<_> = (0..N_THREADS).map(|thread| scope.spawn(worker(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(drawn.len(), N_SESSIONS);
    for (session, drawn) in drawn.into_iter().enumerate() {
        assert_eq!(drawn, alone(&engine, &tokens(session), 20), "session {session}");
    }
    engine.drop_retained().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.live_sessions, stats.live_pages, stats.running_requests), (0, 0, 0));
    assert_eq!((stats.free_pages, stats.failed_steps), (1_000, 0));
}
