//! Conway's Game of Life with a goroutine a cell. A cell knows nobody but its eight neighbours,
//! through a channel from each: it tells them whether it is alive, hears it from them, and lives or
//! dies. There is no clock and no barrier; yet all generations come out right, since a cell can be
//! no more than one ahead of those beside it.
#![no_std]
#![no_main]

use trefoil::prelude::*;

const WIDTH: usize = 48;
const HEIGHT: usize = 20;

/// A glider, and a blinker out of its way. The world's edges are joined.
const ALIVE: [(usize, usize); 8] = [(1, 0), (2, 1), (0, 2), (1, 2), (2, 2), (30, 15), (31, 15), (32, 15)];

/// Returns the cells around `cell`.
fn around(cell: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (cell % WIDTH, cell / WIDTH);
    let steps = [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2), (2, 2)];
    steps.into_iter().map(move |(dx, dy)| (y + dy + HEIGHT - 1) % HEIGHT * WIDTH + (x + dx + WIDTH - 1) % WIDTH)
}

/// Lives the life of a cell.
fn live(cell: usize, tell: &[Sender<bool>], hear: &[Receiver<bool>], show: &Sender<(usize, bool)>) {
    let mut alive = ALIVE.contains(&(cell % WIDTH, cell / WIDTH));
    // Nobody looks any more: the world ends.
    while show.send((cell, alive)).is_ok() {
        // Each channel holds one: a cell never waits for a slow neighbour to be told, only for what
        // that one says.
        for to in tell {
            let _ = to.send(alive);
        }
        let neighbours = hear.iter().filter(|from| from.recv() == Ok(true)).count();
        alive = neighbours == 3 || alive && neighbours == 2;
    }
}

#[trefoil::main]
fn main() {
    let generations = runtime::args().next().and_then(|a| a.parse().ok()).unwrap_or(40);
    let (mut tells, mut hears): (Vec<Vec<_>>, Vec<Vec<_>>) = (0..WIDTH * HEIGHT).map(|_| (vec![], vec![])).unzip();
    for (cell, tells) in tells.iter_mut().enumerate() {
        for neighbour in around(cell) {
            let (tell, hear) = chan::bounded(1);
            tells.push(tell);
            hears[neighbour].push(hear);
        }
    }
    // The painter may get cells of the next generation before this one is whole: those go to the
    // next picture.
    let (show, shown) = chan::bounded(WIDTH * HEIGHT);
    for (cell, (tell, hear)) in tells.into_iter().zip(hears).enumerate() {
        let show = show.clone();
        drop(go(move || live(cell, &tell, &hear, &show)));
    }
    drop(show);
    let mut pictures: Vec<Vec<Option<bool>>> = vec![];
    let mut ages = vec![0; WIDTH * HEIGHT];
    let mut generation = 0;
    while generation <= generations {
        let (cell, alive) = shown.recv().unwrap();
        let age: usize = ages[cell];
        ages[cell] += 1;
        if pictures.len() <= age {
            pictures.resize(age + 1, vec![None; WIDTH * HEIGHT]);
        }
        pictures[age][cell] = Some(alive);
        while generation <= generations && pictures.get(generation).is_some_and(|p| p.iter().all(Option::is_some)) {
            paint(generation, &core::mem::take(&mut pictures[generation]));
            generation += 1;
        }
    }
}

fn paint(generation: usize, picture: &[Option<bool>]) {
    print!("\x1b[H"); // the upper left corner
    for row in picture.chunks(WIDTH) {
        println!("{}", row.iter().map(|cell| if *cell == Some(true) { "##" } else { " ." }).collect::<String>());
    }
    println!("generation {generation}: {} alive", picture.iter().filter(|cell| **cell == Some(true)).count());
}
