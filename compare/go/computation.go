package main

import (
	"slices"
	"sync"
	"time"
)

// sort sorts values; halves above grain values are sorted by a goroutine each.
func sort(values, room []uint64) {
	const grain = 4096
	if len(values) <= grain {
		slices.Sort(values)
		return
	}
	middle := len(values) / 2
	var half sync.WaitGroup
	half.Go(func() { sort(values[:middle], room[:middle]) })
	sort(values[middle:], room[middle:])
	half.Wait()
	copy(room, values)
	i, j := 0, middle
	for k := range values {
		if j == len(room) || i < middle && room[i] <= room[j] {
			values[k] = room[i]
			i++
		} else {
			values[k] = room[j]
			j++
		}
	}
}

// Sorts random numbers by merging.
func mergesort(n int) took {
	random := uint64(seed)
	values, room := make([]uint64, n), make([]uint64, n)
	for i := range values {
		random = xorshift(random)
		values[i] = random >> 20
	}
	begin := time.Now()
	sort(values, room)
	took := since(begin)
	check(slices.IsSorted(values))
	return took
}

// row computes row i of the product of two matrices of n rows and columns.
func row(a, b []float64, n, i int, out []float64) {
	for j := range out {
		sum := 0.0
		for k := 0; k < n; k++ {
			sum += a[i*n+k] * b[k*n+j]
		}
		out[j] = sum
	}
}

// Multiplies two matrices five times, a goroutine a row. The first time
// counts; the last one, in warm memory, is the part.
func matmul() took {
	const n = 300
	a, b, product := make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)
	for i := range a {
		a[i] = float64(i%17)*0.5 - 3.25
		b[i] = float64(i%23) / 3.0
	}
	var times [5]time.Duration
	for k := range times {
		begin := time.Now()
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { row(a, b, n, i, product[i*n:(i+1)*n]) })
		}
		all.Wait()
		times[k] = time.Since(begin)
	}
	check(int(product[301]*1e3) == 872_666)
	return took{times[0], times[4], "warm"}
}

// text makes at least size bytes of words, the short ones more often.
func text(size int) string {
	text := make([]byte, 0, size+64)
	random := uint64(seed)
	for len(text) < size {
		random = xorshift(random)
		bits := random >> 8
		word := (bits % 20_000) * ((bits >> 24) % 20_000) / 20_000
		letters := 1 + word%5
		for word > 0 || letters > 0 {
			text = append(text, byte('a'+word%26))
			word /= 26
			if letters > 0 {
				letters--
			}
		}
		text = append(text, ' ')
	}
	return string(text)
}

// Counts the words of a text of 8 MiB: 64 goroutines count a part each, and
// one adds up their tables.
func words() took {
	const parts = 64
	text := text(8 << 20)
	begin := time.Now()
	tables := make(chan map[string]int)
	start := 0
	for i := 1; i <= parts; i++ {
		end := len(text) * i / parts
		for end < len(text) && text[end-1] != ' ' {
			end++
		}
		part := text[start:end]
		start = end
		go func() {
			table := map[string]int{}
			start := 0
			for i := 0; i < len(part); i++ {
				if part[i] == ' ' {
					if i > start {
						table[part[start:i]]++
					}
					start = i + 1
				}
			}
			tables <- table
		}()
	}
	all := map[string]int{}
	for range parts {
		for word, n := range <-tables {
			all[word] += n
		}
	}
	took := since(begin)
	sum := 0
	for _, n := range all {
		sum += n
	}
	check(sum == 1_846_801 && len(all) == 19_770)
	return took
}
