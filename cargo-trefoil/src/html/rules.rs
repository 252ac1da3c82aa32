//! The table of rules: for each kind of event, the sentence of the book that says why, and the
//! function of the source that decides.
//!
//! A key is a kind, or a kind and a place or another detail; `html/say.js` looks for the closest.
//! Tests look up every page, heading, sentence and function of the table.

use std::path::Path;

use super::json;

/// A rule of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The kind of events, and perhaps a detail: `ready.slot`.
    pub key: &'static str,
    /// The page of the book.
    pub page: &'static str,
    /// Its heading.
    pub heading: &'static str,
    /// Words of that page, without marks of code.
    pub says: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The function that decides.
    pub function: &'static str,
}

macro_rules! rules {
    ($($key:literal, $page:literal $heading:literal, $says:literal, $file:literal $function:literal;)*) => {
        [$(Rule { key: $key, page: $page, heading: $heading, says: $says, file: $file, function: $function },)*]
    };
}

/// All rules.
pub const RULES: [Rule; 49] = rules! {
    "create", "docs/life.md" "Birth", "Then go writes f to the top of that stack, lays a first frame below, and puts the G into the P's slot.", "sched/src/api/spawn.rs" "make";
    "switch", "docs/switch.md" "How a G leaves a core", "The switch goes straight from G to G if the slot or the ring has another G and nothing else needs attention.", "sched/src/core/park.rs" "next_local";
    "switch.slot", "docs/queues.md" "The slot", "A G that the running G readies goes to the P's slot (runnext) and runs next, in the rest of the same slice.", "sched/src/core/park.rs" "next_local";
    "switch.ring", "docs/switch.md" "How a G leaves a core", "The switch goes straight from G to G if the slot or the ring has another G and nothing else needs attention.", "sched/src/core/park.rs" "next_local";
    "switch.to_g0", "docs/switch.md" "How a G leaves a core", "Otherwise the switch goes to g0, which runs timers, looks at the global queue, steals, or rests", "sched/src/core/park.rs" "go_to_g0";
    "switch.from_g0.slot", "docs/queues.md" "How a core finds its next G", "4. The slot.", "sched/src/core/find.rs" "local_work";
    "switch.from_g0.ring", "docs/queues.md" "How a core finds its next G", "5. The ring.", "sched/src/core/find.rs" "local_work";
    "switch.from_g0.global_queue", "docs/queues.md" "How a core finds its next G", "3. At the same 61st dispatch: one G of the global queue.", "sched/src/core/find.rs" "local_work";
    "switch.from_g0.hand", "docs/queues.md" "How a core finds its next G", "On g0 an M takes all steps, in this order", "sched/src/core/find.rs" "find_runnable";
    "switch.from_g0.pinned", "docs/queues.md" "Pinned G's", "While a pinned G can run, its M runs nothing else.", "sched/src/core/find.rs" "local_work";
    "switch.preempt", "docs/preemption.md" "When a slice ends", "The G goes behind all others, unless it is pinned: to the end of the global queue.", "sched/src/core/park.rs" "preempt";
    "switch.end", "docs/switch.md" "How a G leaves a core", "the closure's return, exit_g, a panic", "sched/src/api/spawn/end.rs" "finish";
    "ready", "docs/switch.md" "How a G comes back", "ready(g) makes a parked G runnable and puts it into the slot of the waker's P.", "sched/src/core/park.rs" "ready";
    "ready.inbox", "docs/queues.md" "The inbox", "A handler can interrupt any code, so a handler takes no lock and touches no run queue.", "sched/src/core/interrupt.rs" "ready_from_interrupt";
    "ready.timer", "docs/time.md" "Storms", "Due sleepers go before the G's that wait in the ring, but at most eight in a row.", "sched/src/core/due.rs" "run_timers";
    "ready.marked", "docs/life.md" "The states", "So ready on a Parking G only leaves a mark, and after_park sees the mark and requeues the G.", "sched/src/core/park.rs" "ready_early";
    "ready.global_queue", "docs/queues.md" "The global queue", "It holds the overflow of full rings, G's whose slice has ended, and G's that no P readied", "sched/src/core/handoff.rs" "go_outside";
    "put", "docs/life.md" "The states", "A G stands in exactly one place at a time", "sched/src/core/enqueue.rs" "enqueue_last";
    "put.preempt", "docs/preemption.md" "When a slice ends", "The G goes behind all others, unless it is pinned: to the end of the global queue.", "sched/src/core/park.rs" "after_preempt";
    "put.pinned", "docs/queues.md" "Pinned G's", "A pinned G stands in the slot, a ring or the global queue like any other, so readying it costs the same.", "sched/src/core/pin.rs" "send";
    "overflow", "docs/queues.md" "The ring", "When the ring is full, its older half and the new G go to the global queue in one batch: 129 G's for one lock.", "sched/src/core/enqueue.rs" "push_half";
    "steal", "docs/queues.md" "The ring", "A thief takes the older half.", "sched/src/queue/ring.rs" "steal_into";
    "steal.slot", "docs/queues.md" "The slot", "The handler then marks the G as ripe, and wakes an M that may steal the G.", "sched/src/core/slot.rs" "steal";
    "share", "docs/queues.md" "How a core finds its next G", "A fair share of the global queue: its length divided by the number of P's, plus one, and at most 128 G's.", "sched/src/core/find.rs" "from_global";
    "block", "docs/letters.md" "Why a P", "gives its P away, and another M runs the P's G's.", "sched/src/core/handoff.rs" "block_in_place";
    "block_end", "docs/preemption.md" "A core that waits for hardware", "When f is over, the goroutine takes its old P if that is free, else any free P.", "sched/src/core/handoff.rs" "come_back";
    "pin", "docs/queues.md" "Pinned G's", "While a pinned G can run, its M runs nothing else.", "sched/src/core/pin.rs" "pin";
    "hold", "docs/letters.md" "Three letters", "An M needs a P to run a G.", "sched/src/core/m.rs" "hold";
    "release", "docs/letters.md" "Three letters", "An M without work gives its P up.", "sched/src/core/rest.rs" "rest";
    "procs", "docs/letters.md" "Why a P", "set_max_procs changes the number of P's while all M's go on.", "sched/src/core/max_procs.rs" "set_number";
    "tick", "docs/queues.md" "How a core finds its next G", "So a P whose G's keep readying each other does not starve the global queue.", "sched/src/core/find.rs" "local_work";
    "spin", "docs/queues.md" "How a core finds its next G", "As a spinning M: the other P's in a random order.", "sched/src/core/find.rs" "look_around";
    "spin_end", "docs/sleeping.md" "Not too many wake-ups", "The last spinning M that finds work looks for more work, and wakes the next M.", "sched/src/core/find.rs" "next_g";
    "rest", "docs/sleeping.md" "How a core rests", "Rest is cli, a look at the token, then sti; hlt side by side.", "sched/src/core/rest.rs" "rest";
    "rise", "docs/sleeping.md" "How a core rests", "An IPI that arrives in between is taken right after hlt has begun, and ends the hlt.", "sched/src/core/rest.rs" "wait_for_token";
    "woken", "docs/sleeping.md" "Not too many wake-ups", "A wake-up is in vain if the woken M finds no work.", "sched/src/core/idle.rs" "woken_usefully";
    "wake", "docs/sleeping.md" "Not too many wake-ups", "One spinning M is enough.", "sched/src/core/shared.rs" "wake_one";
    "defer", "docs/sleeping.md" "Not too many wake-ups", "With the account empty, a submitter defers the wake-up to its P's alarm, 50 µs later.", "sched/src/core/m.rs" "defer_wake";
    "alarm", "docs/preemption.md" "Who notices", "A core takes a timer interrupt only if another G waits", "sched/src/core/interrupt.rs" "timer_interrupt";
    "arm", "docs/time.md" "Which core rings", "A running P's core has its one-shot armed for the P's earliest deadline.", "sched/src/core/oneshot.rs" "arm";
    "slice_end", "docs/preemption.md" "When a slice ends", "A G has a slice only while others wait for its P.", "sched/src/core/slice.rs" "over";
    "ripe", "docs/queues.md" "The slot", "If not, the G in the slot has waited too long.", "sched/src/core/slot.rs" "on_alarm";
    "chain_end", "docs/queues.md" "The slot", "Then the chain goes to the end of the ring.", "sched/src/core/enqueue.rs" "end_chain";
    "timer_fired", "docs/time.md" "A timer's way", "The clock that the program reads decides whether a timer is due.", "sched/src/timers.rs" "pop_due";
    "grow", "docs/stacks.md" "Growth", "One compare-and-swap puts the frame into the page-table entry, and the handler returns.", "kernel/src/mm/stack/fault.rs" "fault";
    "shrink", "docs/stacks.md" "Shrinking", "Pages more than a margin below the saved stack pointer go to limbo", "kernel/src/mm/stack/scavenge/round.rs" "look";
    "pack", "docs/stacks.md" "Packing", "The used bytes move to a block of the heap, and the frame goes back.", "kernel/src/mm/stack/packed.rs" "pack_page";
    "unpack", "docs/stacks.md" "Packing", "The fault handler restores the same bytes at the same address.", "kernel/src/mm/stack/packed.rs" "unpack_page";
    "epoch", "docs/stacks.md" "Shrinking", "Each core drops its TLB when it next reaches g0", "kernel/src/mm/stack/scavenge/round.rs" "step";
};

impl Rule {
    /// Returns the line of the heading and that of the function, if the sources lie where this tool
    /// was built.
    pub fn lines(&self) -> Option<(usize, usize)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        let line = |file: &str, is_it: &dyn Fn(&str) -> bool| {
            let text = std::fs::read_to_string(root.join(file)).ok()?;
            text.lines().position(is_it).map(|line| line + 1)
        };
        let heading =
            line(self.page, &|line| line.starts_with('#') && line.trim_start_matches('#').trim() == self.heading)?;
        let begin = format!("fn {}", self.function);
        let is_function = |line: &str| {
            line.split_once(&begin)
                .is_some_and(|(_, rest)| rest.starts_with(['(', '<']) && !line.trim_start().starts_with("//"))
        };
        Some((heading, line(self.file, &is_function)?))
    }
}

/// Writes the table as JSON, for the page.
pub(super) fn json() -> String {
    json::object(RULES.iter().map(|rule| {
        let (heading, function) = rule.lines().unwrap_or_default();
        let fields = [
            ("page", rule.page),
            ("heading", rule.heading),
            ("says", rule.says),
            ("file", rule.file),
            ("function", rule.function),
        ];
        let texts = fields.map(|(name, value)| (name, json::text(value)));
        let lines = [("headingLine", heading.to_string()), ("functionLine", function.to_string())];
        (rule.key, json::object(texts.into_iter().chain(lines)))
    }))
}

#[cfg(test)]
mod tests {
    use trefoil_trace::{Kind, Place};

    use super::*;

    fn read(file: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The words of a text, without Markdown's marks.
    fn words(text: &str) -> String {
        text.replace(['`', '*'], "").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_sentence_stands_under_its_heading() {
        for rule in RULES {
            let text = read(rule.page);
            let is_heading = |line: &str| line.trim_start_matches('#').trim() == rule.heading && line.starts_with('#');
            let start = text.lines().position(is_heading);
            let start = start.unwrap_or_else(|| panic!("{} has no heading {:?}", rule.page, rule.heading));
            let section: Vec<_> = text.lines().skip(start + 1).take_while(|line| !line.starts_with("## ")).collect();
            let section = words(&section.join("\n"));
            assert!(section.contains(&words(rule.says)), "{} § {}: {:?}", rule.page, rule.heading, rule.says);
        }
    }

    #[test]
    fn every_function_stands_in_its_file() {
        for rule in RULES {
            let (_, line) = rule.lines().unwrap_or_else(|| panic!("{} has no function {}", rule.file, rule.function));
            let source = read(rule.file);
            assert!(source.lines().nth(line - 1).unwrap().contains(&format!("fn {}", rule.function)));
        }
    }

    #[test]
    fn every_key_begins_with_a_kind_and_stands_once() {
        let name = |text: &str| text.replace(' ', "_");
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| name(kind.as_str())).collect();
        let places: Vec<_> = Place::ALL.iter().map(|place| name(place.as_str())).collect();
        let details = ["to_g0", "from_g0", "preempt", "end", "timer"];
        for (i, rule) in RULES.iter().enumerate() {
            let mut parts = rule.key.split('.');
            assert!(parts.next().is_some_and(|kind| kinds.iter().any(|known| known == kind)), "{}", rule.key);
            for part in parts {
                assert!(places.iter().any(|place| place == part) || details.contains(&part), "{}", rule.key);
            }
            assert!(RULES[..i].iter().all(|other| other.key != rule.key), "{} stands twice", rule.key);
        }
    }
}
