package main

import (
	"sync"
	"time"
)

// A binary tree: a node has two children or none.
type tree struct{ left, right *tree }

func newTree(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{newTree(depth - 1), newTree(depth - 1)}
}

func (t *tree) nodes() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.nodes() + t.right.nodes()
}

// Binary trees, of the Computer Language Benchmarks Game: many short-lived
// ones, beside one that stays.
func trees() took {
	const deepest, goroutines = 16, 8
	begin := time.Now()
	check(newTree(deepest+1).nodes() == 1<<(deepest+2)-1)
	stays := newTree(deepest)
	for depth := 4; depth <= deepest; depth += 4 {
		count := 1 << (deepest - depth + 4)
		var parts [goroutines]int
		var all sync.WaitGroup
		for g := range parts {
			all.Go(func() {
				nodes := 0
				for range count / goroutines {
					nodes += newTree(depth).nodes()
				}
				parts[g] = nodes
			})
		}
		all.Wait()
		nodes := 0
		for _, n := range parts {
			nodes += n
		}
		check(nodes == count*(1<<(depth+1)-1))
	}
	check(stays.nodes() == 1<<(deepest+1)-1)
	return since(begin)
}

// Eight goroutines, each with 64 blocks of 16 bytes to 64 KiB, all zeros at
// first: a random one is dropped and another allocated, 125,000 times.
func churn() took {
	begin := time.Now()
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			random := seed + uint64(g)
			var blocks [64][]byte
			written, read := uint64(0), uint64(0)
			for range 125_000 {
				random = xorshift(random)
				i := random >> 58
				if block := blocks[i]; block != nil {
					read += uint64(block[len(block)-1])
					blocks[i] = nil
				}
				least := 16 << ((random >> 20) % 12)
				length := least + int((random>>32)%uint64(least))
				block := make([]byte, length)
				block[0] = byte(random)
				block[length-1] = byte(random >> 8)
				written += uint64(block[length-1])
				blocks[i] = block
			}
			for _, block := range blocks {
				if block != nil {
					read += uint64(block[len(block)-1])
				}
			}
			check(read == written)
		})
	}
	all.Wait()
	return since(begin)
}
