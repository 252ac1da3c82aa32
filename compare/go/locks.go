package main

import (
	"sync"
	"sync/atomic"
	"time"
)

// Eight goroutines want the same lock.
const many = 8

// A place for results that nobody looks at.
var sink atomic.Uint64

// Each takes a mutex so many times, for some instructions.
func mutex(times int) took {
	var lock sync.Mutex
	random, writes := uint64(1), 0
	begin := time.Now()
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			for range times {
				lock.Lock()
				random = xorshift(xorshift(random))
				writes++
				lock.Unlock()
			}
		})
	}
	all.Wait()
	took := since(begin)
	check(writes == many*times && random == 18_446_242_161_289_195_114)
	return took
}

// Each takes a lock so many times, nine times of ten for reading.
func rwlock(times int) took {
	var lock sync.RWMutex
	random, writes := uint64(1), 0
	begin := time.Now()
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			sum := uint64(0)
			for i := 1; i <= times; i++ {
				if i%10 == 0 {
					lock.Lock()
					random = xorshift(xorshift(random))
					writes++
					lock.Unlock()
				} else {
					lock.RLock()
					sum += random + uint64(writes)
					lock.RUnlock()
				}
			}
			sink.Add(sum)
		})
	}
	all.Wait()
	took := since(begin)
	check(writes == many*(times/10) && random == 387_579_942_253_471_492)
	return took
}

// A creature that has come to the mall: its number and its colour.
type creature struct {
	id, colour int
}

// The creature that waits, and where it hears of another.
type waiter struct {
	creature
	hears chan creature
}

// The colour that both have after a meeting.
func complement(a, b int) int {
	if a == b {
		return a
	}
	return 3 - a - b
}

func meet(colours []int, meetings int) int {
	var lock sync.Mutex
	left := meetings
	var waiting waiter
	someone := false
	met := make([]int, len(colours))
	var all sync.WaitGroup
	for id, colour := range colours {
		all.Go(func() {
			hears := make(chan creature, 1)
			times := 0
			for {
				var other creature
				ok := false
				lock.Lock()
				if left == 0 {
					if someone {
						someone = false
						close(waiting.hears)
					}
					lock.Unlock()
					break
				}
				if someone {
					someone = false
					left--
					waiting.hears <- creature{id, colour}
					other, ok = waiting.creature, true
				} else {
					someone = true
					waiting = waiter{creature{id, colour}, hears}
				}
				lock.Unlock()
				if !ok {
					other, ok = <-hears
					if !ok {
						break
					}
				}
				times++
				check(other.id != id)
				colour = complement(colour, other.colour)
			}
			met[id] = times
		})
	}
	all.Wait()
	sum := 0
	for _, times := range met {
		sum += times
	}
	return sum
}

// Chameneos redux, of the Computer Language Benchmarks Game: creatures meet in
// pairs and change their colours; 3 of them, then 10.
func chameneos(meetings int) took {
	begin := time.Now()
	few := meet([]int{0, 1, 2}, meetings)
	many := meet([]int{0, 1, 2, 1, 2, 0, 1, 2, 1, 0}, meetings)
	took := since(begin)
	check(few == 2*meetings && many == 2*meetings)
	return took
}
