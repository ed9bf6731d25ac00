//! One scenario: everything in it follows from the seed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use vault::SystemId;

use crate::actors::{self, Actor, Machine, Rules};
use crate::afterwards;
use crate::objects::{Change, Millis};
use crate::oracle::Oracle;
use crate::quiet;
use crate::random::Random;
use crate::torn;
use crate::toy;
use crate::world::{Faults, Place, Shared, World, lock};

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;
/// Nobody sleeps for longer than 30 days before a delete (`docs/gc.md`); who is older than this is killed.
const OLDEST: Millis = 25 * DAY;

/// Seeds with this bit are of scenarios in which segments hold several chunks, and an owner regroups.
pub const WITH_OWNER: u64 = 1 << 63;

/// How a scenario went.
#[derive(Debug)]
pub struct Verdict {
    /// What must not be.
    pub violation: Option<String>,
    /// What happened, a line each, if that was asked for.
    pub trace: Vec<String>,
    /// How many steps it had.
    pub steps: u64,
    /// What the scenario was like.
    pub character: String,
    /// How often what happened.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
}

/// What a scenario is like.
#[derive(Debug, Clone)]
struct Character {
    rules: Rules,
    steps: u64,
    /// Milliseconds that a step usually takes at most.
    tempo: Millis,
    /// Each so many times in a thousand steps.
    jumps: u64,
    pauses: u64,
    kills: u64,
    fullness: u64,
    rot: u64,
    thief: bool,
    machines: u64,
    /// How many act at once, at most.
    crowd: u64,
}

/// Those who are not in every scenario. Their chance is a source of its own, so that scenarios without them stay as they
/// are.
struct Others {
    random: Random,
    /// The vault is copied to another store.
    copies: bool,
    /// The vault is checked.
    checks: bool,
}

impl Others {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(!seed);
        let (copies, checks) = (random.permille(200), random.permille(200));
        Self { random, copies, checks }
    }
}

struct Running {
    actor: Actor,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    begun: Millis,
    paused_until: Millis,
    /// It backs up this machine.
    machine: Option<usize>,
}

struct Scenario {
    world: Shared,
    others: Others,
    /// Decides when the owner comes by with the key, where segments hold several chunks; again a source of its own.
    owner: Option<Random>,
    character: Character,
    machines: Vec<Arc<Mutex<Machine>>>,
    running: Vec<Running>,
    count: usize,
    /// A collector was started and is awake still.
    is_collecting: bool,
    /// All of it in words.
    nature: String,
}

/// Plays the scenario of a seed.
pub fn run(seed: u64, trace: bool) -> Verdict {
    let mut scenario = Scenario::new(seed, trace);
    let mut steps = 0;
    while steps < scenario.character.steps && lock(&scenario.world).oracle.violation.is_none() {
        scenario.step();
        steps += 1;
    }
    scenario.running.clear();
    if lock(&scenario.world).oracle.violation.is_none() {
        let actor = scenario.actor();
        quiet::settle(&actor);
        let is_calm = |scenario: &Scenario| lock(&scenario.world).oracle.violation.is_none();
        if scenario.owner.is_some() && is_calm(&scenario) {
            afterwards::regroup(&actor);
        }
        if scenario.others.copies && is_calm(&scenario) {
            afterwards::copy(&actor);
        }
        if scenario.others.copies && is_calm(&scenario) {
            torn::copy(&actor, &mut Random::new(seed.rotate_left(17)));
        }
        if scenario.others.checks && is_calm(&scenario) {
            afterwards::check(&actor, &mut scenario.others.random);
        }
    }
    let mut world = lock(&scenario.world);
    let violation = world.oracle.violation.take();
    if let Some(what) = &violation {
        world.note(|| format!("VIOLATION: {what}"));
    }
    let trace = world.trace.take().unwrap_or_default();
    let character = scenario.nature;
    Verdict { violation, trace, steps, character, counts: std::mem::take(&mut world.counts) }
}

fn one_of<T: Copy + Default>(random: &mut Random, of: &[T]) -> T {
    random.pick(of).copied().unwrap_or_default()
}

fn character(random: &mut Random) -> Character {
    let rules = Rules {
        lease: one_of(random, &[5 * MINUTE, 15 * MINUTE, HOUR]),
        delay: one_of(random, &[0, 0, HOUR, DAY, 7 * DAY]),
        unfinished: one_of(random, &[0, HOUR, DAY, 2 * DAY]),
        tries: random.between(1, 4) as u32,
        doubles: false,
    };
    Character {
        rules,
        steps: one_of(random, &[600, 1500, 3000]),
        tempo: one_of(random, &[50, SECOND, 4 * SECOND, 20 * SECOND]),
        jumps: one_of(random, &[0, 2, 10]),
        pauses: one_of(random, &[0, 4, 15]),
        kills: one_of(random, &[0, 1, 4]),
        fullness: one_of(random, &[0, 0, 1]),
        rot: one_of(random, &[0, 0, 2]),
        thief: random.permille(250),
        machines: random.between(1, 3),
        crowd: random.between(1, 5),
    }
}

fn faults(random: &mut Random, settle: Millis) -> Faults {
    let level = one_of(random, &[0, 1, 5]);
    let lag = if settle > 0 { level } else { 0 };
    let some = |random: &mut Random, of: u64| of * random.below(8);
    Faults {
        refused: some(random, level),
        unanswered: some(random, level),
        late: some(random, level),
        twice: some(random, lag),
        stale: some(random, lag * 12),
    }
}

impl Scenario {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut character = character(&mut random);
        character.rules.doubles = seed & WITH_OWNER != 0;
        let owner = character.rules.doubles.then(|| Random::new(seed.rotate_left(32)));
        let mut settle = one_of(&mut random, &[0, 0, MINUTE, 5 * MINUTE, 10 * MINUTE, HOUR]);
        if owner.is_some() {
            // A pack is regrouped late in its life: much has to happen until then, and not too much go wrong.
            character.crowd = character.crowd.max(3);
            character.steps = 3000;
            character.tempo = character.tempo.min(SECOND);
            character.jumps = character.jumps.min(2);
            character.pauses = character.pauses.min(4);
            character.kills = character.kills.min(1);
            character.fullness = 0;
            character.thief &= seed & 3 == 0;
            character.rules.delay = character.rules.delay.min(HOUR);
            settle = settle.min(5 * MINUTE);
        }
        let skew = if random.permille(500) {
            random.below((settle / SKEW_PART).min(character.rules.lease / 3))
        } else {
            0
        };
        let faults = faults(&mut random, settle);
        let oracle = Oracle::new(character.rules.delay, 2 * skew);
        let files = |random: &mut Random| {
            let count = random.between(3, 10);
            (0..count).map(|_| random.between(1, 40)).collect()
        };
        let machines = (0..character.machines)
            .map(|number| {
                let system = SystemId::new([number as u8 + 1; 16]);
                Arc::new(Mutex::new(Machine::new(system, files(&mut random))))
            })
            .collect();
        let mut world = World::new(random, oracle, trace);
        (world.settle, world.skew, world.faults) = (settle, skew, faults);
        for (name, bytes) in toy::beginning() {
            world.objects.change(&name, Change::Put(bytes), 0, 0, settle);
        }
        let nature = format!("settle {settle}, skew {skew}, {faults:?}, {character:?}");
        world.note(|| format!("seed {seed}: {nature}"));
        let world = Arc::new(Mutex::new(world));
        let others = Others::new(seed);
        Self {
            world,
            others,
            owner,
            character,
            machines,
            running: Vec::new(),
            count: 0,
            is_collecting: false,
            nature,
        }
    }

    fn actor(&mut self) -> Actor {
        self.count += 1;
        let (world, rules) = (self.world.clone(), self.character.rules);
        Actor { world, number: self.count, rules, place: Place::Vault }
    }

    /// How many files of a machine change at most, and how many different chunks there are. With few, what nobody needed
    /// any more is often needed again.
    fn churn(&self) -> (u64, u64) {
        if self.owner.is_some() { (6, 16) } else { (3, 40) }
    }

    fn chance(&self, permille: u64) -> bool {
        lock(&self.world).random.permille(permille)
    }

    /// A time that matters to somebody, or a part of it, or a multiple.
    fn long(&self) -> Millis {
        let mut world = lock(&self.world);
        let (settle, rules) = (world.settle, self.character.rules);
        let times = [rules.lease, rules.lease, settle, settle, rules.delay, rules.unfinished, DAY, 8 * DAY];
        let time = one_of(&mut world.random, &times);
        time / 4 + world.random.below(2 * time + MINUTE)
    }

    fn later(&self) -> Millis {
        let long = self.long();
        lock(&self.world).now + long
    }

    fn step(&mut self) {
        let now = lock(&self.world).now;
        let is_idle = self.running.iter().all(|running| running.paused_until > now);
        self.pass_time(is_idle);
        self.disturb();
        let now = lock(&self.world).now;
        let awake = self.running.iter().filter(|running| running.paused_until <= now).count() as u64;
        self.is_collecting &= awake > 0 && !self.chance(5);
        let few = awake < self.character.crowd && self.running.len() < 12;
        if awake == 0 && self.chance(500) || few && self.chance(20) {
            self.start();
        }
        self.go_on();
    }

    fn pass_time(&self, is_idle: bool) {
        let jumps = if is_idle { 300 } else { self.character.jumps };
        let by = if self.chance(jumps) {
            self.long()
        } else {
            lock(&self.world).random.below(self.character.tempo)
        };
        lock(&self.world).advance(by);
    }

    /// Kills, pauses, a full disk.
    fn disturb(&mut self) {
        let some = lock(&self.world).random.below(self.running.len() as u64) as usize;
        if self.chance(self.character.kills) && some < self.running.len() {
            self.kill(some);
        } else if self.chance(self.character.pauses) {
            // Half of them sleep for less than a lease: others go on meanwhile, and must wait for them.
            let short = lock(&self.world).random.below(self.character.rules.lease);
            let until = if self.chance(500) { lock(&self.world).now + short } else { self.later() };
            if let Some(running) = self.running.get_mut(some) {
                running.paused_until = until;
                let number = running.actor.number;
                lock(&self.world)
                    .note(|| format!("#{number} sleeps until {}d {}s", until / DAY, until % DAY / 1000));
            }
        }
        if self.chance(self.character.rot) {
            let until = self.later();
            let mut world = lock(&self.world);
            let now = world.now;
            let promised = world.oracle.promised(now);
            if let Some(snapshot) = world.random.pick(&promised).copied() {
                world.rot(&snapshot.snapshot_name(), until);
            }
        }
        if self.chance(self.character.fullness) {
            let until = self.later();
            lock(&self.world).full_until = until;
        }
    }

    fn kill(&mut self, place: usize) {
        let running = self.running.swap_remove(place);
        lock(&self.world).note(|| format!("#{} is killed", running.actor.number));
    }

    /// One of the others begins, where there are any: a copier, somebody at work on the copy, or one who checks.
    fn start_other(&mut self) -> bool {
        let Others { copies, checks, .. } = self.others;
        if !copies && !checks {
            return false;
        }
        let kind = self.others.random.below(100);
        let now = lock(&self.world).now;
        let mut actor = self.actor();
        if kind < 24 {
            actor = actor.at(Place::Copy);
        }
        let (what, future): (_, Pin<Box<dyn Future<Output = ()> + Send>>) = match kind {
            0..14 if copies => ("copier", Box::pin(actors::copy(actor.clone(), actors::Arrivals::default()))),
            14..20 if copies => ("collector of the copy", Box::pin(actors::collect(actor.clone()))),
            20..24 if copies => {
                let promised = lock(&self.world).copy.oracle.promised(now);
                let Some(snapshot) = self.others.random.pick(&promised).copied() else { return false };
                ("forgetter at the copy", Box::pin(actors::forget(actor.clone(), vec![snapshot])))
            }
            24..36 if checks => ("scrubber", Box::pin(actors::scrub(actor.clone()))),
            _ => return false,
        };
        lock(&self.world).note(|| format!("#{} begins: {what}", actor.number));
        self.running.push(Running { actor, future, begun: now, paused_until: 0, machine: None });
        true
    }

    /// The owner begins to regroup the copy, where there is one.
    fn start_owner_of_the_copy(&mut self) -> bool {
        let copies = self.others.copies;
        if !self.owner.as_mut().is_some_and(|random| copies && random.permille(60)) {
            return false;
        }
        let actor = self.actor().at(Place::Copy);
        let mut world = lock(&self.world);
        world.note(|| format!("#{} begins: owner of the copy", actor.number));
        let (begun, future) = (world.now, Box::pin(actors::regroup(actor.clone())));
        self.running.push(Running { actor, future, begun, paused_until: 0, machine: None });
        true
    }

    /// Somebody begins.
    fn start(&mut self) {
        if self.start_other() || self.start_owner_of_the_copy() {
            return;
        }
        let actor = self.actor();
        let (number, world) = (actor.number, self.world.clone());
        let mut world = lock(&world);
        let kind = world.random.below(100);
        let mut machine = None;
        let now = world.now;
        let promised = world.oracle.promised(now);
        let chosen = world.random.pick(&promised).copied();
        let (what, future): (_, Pin<Box<dyn Future<Output = ()> + Send>>) = match (kind, chosen) {
            // Most of the time one is enough.
            (0..30, _) if !self.is_collecting || kind < 5 => {
                self.is_collecting = true;
                match self.owner.as_mut().is_some_and(|random| random.permille(600)) {
                    true => ("owner", Box::pin(actors::regroup(actor.clone()))),
                    false => ("collector", Box::pin(actors::collect(actor.clone()))),
                }
            }
            (30..53, Some(snapshot)) => ("forgetter", {
                // Often most of them: then there is much to collect.
                let share = world.random.below(1000);
                let mut all = vec![snapshot];
                all.extend(promised.iter().filter(|_| world.random.permille(share)));
                Box::pin(actors::forget(actor.clone(), all))
            }),
            (53..58, Some(snapshot)) => {
                let forgotten = world.oracle.forgotten();
                let snapshot = world.random.pick(&forgotten).copied().unwrap_or(snapshot);
                ("undeleter", Box::pin(actors::undelete(actor.clone(), snapshot)))
            }
            (58..63, Some(snapshot)) => ("reader", Box::pin(actors::read(actor.clone(), snapshot))),
            (63..68, _) if self.character.thief => ("thief", Box::pin(actors::steal(actor.clone()))),
            _ => {
                let place = world.random.below(self.machines.len() as u64) as usize;
                let is_busy = self.running.iter().any(|running| running.machine == Some(place));
                let Some(chosen) = self.machines.get(place).filter(|_| !is_busy) else { return };
                if let Ok(mut chosen) = chosen.lock() {
                    let (changes_max, variety) = self.churn();
                    chosen.work(&mut world, changes_max, variety);
                }
                machine = Some(place);
                ("writer", Box::pin(actors::write(actor.clone(), chosen.clone())))
            }
        };
        world.note(|| format!("#{number} begins: {what}"));
        self.running.push(Running { actor, future, begun: now, paused_until: 0, machine });
    }

    /// One of those who are awake goes on by one call.
    fn go_on(&mut self) {
        let now = lock(&self.world).now;
        let awake: Vec<usize> =
            (0..self.running.len()).filter(|place| self.running[*place].paused_until <= now).collect();
        let Some(place) = lock(&self.world).random.pick(&awake).copied() else { return };
        if now > self.running[place].begun + OLDEST {
            return self.kill(place);
        }
        let running = &mut self.running[place];
        if advance(&self.world, running.actor.number, &mut running.future) {
            self.running.swap_remove(place);
        }
    }
}

/// The clocks of a store are together as well as this part of the time that it is given to settle.
pub const SKEW_PART: u64 = 12;

/// Lets an actor go on by one call; whether it is done.
pub fn advance(
    world: &Shared,
    number: usize,
    future: &mut Pin<Box<dyn Future<Output = ()> + Send + '_>>,
) -> bool {
    // None when it has not begun yet.
    let waker = lock(world).release(number);
    if let Some(waker) = waker {
        waker.wake();
    }
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}
