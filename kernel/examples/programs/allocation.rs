//! Goroutines that allocate and free.

use trefoil::prelude::*;

use crate::{SEED, Took, xorshift};

/// A binary tree: a node has two children or none.
struct Tree {
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
}

impl Tree {
    fn new(depth: u32) -> Box<Self> {
        if depth == 0 {
            return Box::new(Self { left: None, right: None });
        }
        Box::new(Self { left: Some(Self::new(depth - 1)), right: Some(Self::new(depth - 1)) })
    }

    fn nodes(&self) -> u64 {
        match (&self.left, &self.right) {
            (Some(left), Some(right)) => 1 + left.nodes() + right.nodes(),
            _ => 1,
        }
    }
}

/// Binary trees, of the Computer Language Benchmarks Game: many short-lived ones, beside one that
/// stays.
pub fn trees() -> Took {
    const DEEPEST: u32 = 16;
    const GOROUTINES: u64 = 8;
    let begin = Instant::now();
    assert_eq!(Tree::new(DEEPEST + 1).nodes(), (1 << (DEEPEST + 2)) - 1);
    let stays = Tree::new(DEEPEST);
    for depth in (4..=DEEPEST).step_by(4) {
        let count = 1u64 << (DEEPEST - depth + 4);
        let some = move || (0..count / GOROUTINES).map(|_| Tree::new(depth).nodes()).sum::<u64>();
        let parts: Vec<_> = (0..GOROUTINES).map(|_| go(some)).collect();
        let nodes: u64 = parts.into_iter().map(|part| part.join().unwrap()).sum();
        assert_eq!(nodes, count * ((1 << (depth + 1)) - 1));
    }
    assert_eq!(stays.nodes(), (1 << (DEEPEST + 1)) - 1);
    Took::since(begin)
}

/// Eight goroutines, each with 64 blocks of 16 bytes to 64 KiB, all zeros at first: a random one is
/// freed and another allocated, 125,000 times.
pub fn churn() -> Took {
    let begin = Instant::now();
    let all = Arc::new(WaitGroup::new());
    for i in 0..8 {
        all.go(move || {
            let mut random = SEED + i;
            let mut blocks = [const { None::<Vec<u8>> }; 64];
            let (mut written, mut read) = (0u64, 0u64);
            for _ in 0..125_000 {
                random = xorshift(random);
                let slot = &mut blocks[(random >> 58) as usize];
                if let Some(block) = slot.take() {
                    read += u64::from(block[block.len() - 1]);
                }
                let least = 16usize << ((random >> 20) % 12);
                let len = least + ((random >> 32) % least as u64) as usize;
                let mut block = vec![0; len];
                block[0] = random as u8;
                block[len - 1] = (random >> 8) as u8;
                written += u64::from(block[len - 1]);
                *slot = Some(block);
            }
            let kept: u64 = blocks.iter().flatten().map(|block| u64::from(block[block.len() - 1])).sum();
            assert_eq!(read + kept, written);
        });
    }
    all.wait();
    Took::since(begin)
}
