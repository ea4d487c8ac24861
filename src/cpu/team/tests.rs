//! Regions, who takes part in them, and panics.

use std::sync::atomic::AtomicUsize;

use super::*;

/// A region whose members read nothing next.
pub fn run(job: &(dyn Fn(Member) + Sync)) {
    super::run(&|member| {
        job(member);
        None
    });
}

fn pool(n_threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap()
}

#[test]
fn every_region_has_its_leader_and_each_helper_at_most_once() {
    for n_threads in [1, 2, 3, 7] {
        let came: Vec<AtomicUsize> = (0..n_threads).map(|_| AtomicUsize::new(0)).collect();
        let count = |member: Member| {
            came[member.number].fetch_add(1, Ordering::Relaxed);
        };
        pool(n_threads).install(|| {
            lead_workers(n_threads - 1, || {
                for region in 1..=1_000 {
                    run(&count);
                    let so_far = came.iter().map(|n| n.load(Ordering::Relaxed));
                    assert!(so_far.clone().max() == Some(region) && so_far.min() <= Some(region));
                }
            });
        });
        assert_eq!(came[0].load(Ordering::Relaxed), 1_000);
    }
}

#[test]
fn a_helper_takes_part() {
    let met = std::sync::Barrier::new(2);
    pool(2).install(|| {
        lead_workers(1, || {
            run(&|_| {
                met.wait();
            })
        })
    });
}

#[test]
fn a_panic_anywhere_comes_out_and_leaves_the_pool_usable() {
    let (pool, met) = (pool(2), std::sync::Barrier::new(2));
    for culprit in [0, 1] {
        let job = |member: Member| {
            met.wait();
            assert_ne!(member.number, culprit, "as told");
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.install(|| lead_workers(1, || run(&job)))));
        assert!(outcome.is_err());
    }
    pool.install(|| {
        lead_workers(1, || {
            run(&|_| {
                met.wait();
            })
        })
    });
}

#[test]
fn panics_of_all_members_leave_nothing_for_later() {
    let met = std::sync::Barrier::new(2);
    pool(2).install(|| {
        lead_workers(1, || {
            let job = |_| {
                met.wait();
                panic!("all of them");
            };
            assert!(catch_unwind(AssertUnwindSafe(|| run(&job))).is_err());
            run(&|_| ());
        })
    });
}

#[test]
fn inside_a_region_and_without_a_team_there_is_one_member() {
    let n_inner = AtomicUsize::new(0);
    let inner = |member: Member| {
        assert_eq!(member.number, 0);
        n_inner.fetch_add(1, Ordering::Relaxed);
    };
    run(&inner);
    pool(2).install(|| {
        lead_workers(1, || {
            run(&|member| {
                if member.number == 0 {
                    run(&inner)
                }
            })
        })
    });
    assert_eq!(n_inner.load(Ordering::Relaxed), 2);
}
