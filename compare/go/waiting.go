package main

import (
	"context"
	"sync"
	"time"
)

// Goroutines sleep three times each, for 1 to 10 ms.
func sleepers(n int) took {
	begin := time.Now()
	var all sync.WaitGroup
	all.Add(n)
	for i := range n {
		go func() {
			for k := range 3 {
				time.Sleep(time.Duration(1+(i+k*3)%10) * time.Millisecond)
			}
			all.Done()
		}()
	}
	all.Wait()
	return since(begin)
}

// Ten times, 10,000 goroutines wait for contexts in a tree of three levels,
// whose root is cancelled. The cancelling is the part.
func contexts() took {
	const level = 100
	begin := time.Now()
	var cancelling time.Duration
	for range 10 {
		root, cancel := context.WithCancel(context.Background())
		var started, ended sync.WaitGroup
		started.Add(level * level)
		ended.Add(level * level)
		// Nothing but the root is cancelled.
		for range level {
			middle, _ := context.WithCancel(root)
			for range level {
				leaf, _ := context.WithCancel(middle)
				go func() {
					started.Done()
					<-leaf.Done()
					ended.Done()
				}()
			}
		}
		started.Wait()
		cancelled := time.Now()
		cancel()
		ended.Wait()
		cancelling += time.Since(cancelled)
	}
	return took{time.Since(begin), cancelling, "cancel"}
}
