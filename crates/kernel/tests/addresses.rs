//! Addresses: what they are made of, and how they look.

#[path = "common/lab.rs"]
mod lab;

use lab::{Handle, Plan, node, stop};
use socktree_kernel::{Name, Source, SpawnOptions, Target, WorkerId};

#[test]
fn a_name_is_a_target_in_all_its_forms() {
    let name = Name::from("counter");
    let owned = String::from("counter");
    let forms: [Target; 5] = [
        "counter".into(),
        (&owned).into(),
        owned.clone().into(),
        (&name).into(),
        name.clone().into(),
    ];
    assert!(forms.iter().all(|form| *form == Target::Name(name.clone())));
    assert_eq!(Name::from(&owned), name);
    let text: &str = name.as_ref();
    assert_eq!(text, "counter");
}

#[test]
fn a_source_says_where_to_answer() {
    let node = node(1);
    let (asker, other) = (Handle::new(&node), Handle::new(&node));
    let to = other.address.clone();
    asker.run(move |ctx| ctx.send_to(&to, 1u64)).unwrap();
    let (from, _) = other.number();
    assert_eq!(from.target(), Some(Target::Pid(asker.pid())));
    assert_eq!(from.to_string(), asker.pid().to_string());

    other.address.send(2u64).unwrap();
    let (from, _) = other.number();
    assert_eq!(from.target(), None);
    assert_eq!(from.to_string(), "outside");

    let (alias, parent) = (other.run(|ctx| ctx.create_alias()), other.pid());
    let meta = Source::Meta { alias, parent };
    assert_eq!(meta.target(), Some(Target::Alias(alias)));
    assert_eq!(meta.to_string(), format!("{alias} of {parent}"));
    stop(&node);
}

#[test]
fn a_worker_is_named_by_its_number() {
    let node = node(2);
    for n in [1, 0] {
        let plan = Plan::default().options(SpawnOptions::new().worker(n));
        let there = plan.start(&node).unwrap();
        assert_eq!(there.run(|ctx| ctx.worker()), WorkerId::from(n));
        let beside = there.run(|ctx| {
            let options = SpawnOptions::new().worker(ctx.worker());
            Handle::child(ctx, options)
        });
        assert_eq!(beside.run(|ctx| ctx.worker().index()), n);
    }
    stop(&node);
}
