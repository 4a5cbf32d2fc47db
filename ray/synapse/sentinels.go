package synapse

import "raytap/ray"

// This file distinguishes values from sentinels: what an agent cannot read is sent as -1 or as
// a number that no machine has.

// maxAmount is more than any machine has, in bytes or MB (2^60).
const maxAmount = 1 << 60

// amount returns the value, and false if it is a sentinel.
func (n number) amount() (float64, bool) {
	if !n.ok || n.value < 0 || n.value >= maxAmount {
		return 0, false
	}
	return n.value, true
}

// amountOrNil returns the value, or nil if it is a sentinel.
func (n number) amountOrNil() *float64 {
	if v, ok := n.amount(); ok {
		return &v
	}
	return nil
}

// ratio returns a percentage as a ratio, or nil if it is a sentinel: the utilization of
// a GPU is -1 for each MIG slice, and for AMD GPUs on an error (Ray 2.60.0).
func (n number) ratio() *float64 {
	if !n.ok || n.value < 0 || n.value > 100 {
		return nil
	}
	return n.float(percent)
}

// amountOf returns the domain type, or nil if any of its values is a sentinel.
func amountOf(r *amountRow) *ray.Amount {
	if r == nil {
		return nil
	}
	total, ok := r.Total.amount()
	_, ok1 := r.Used.amount()
	_, ok2 := r.Available.amount()
	if !ok || r.Used.ok && !ok1 || r.Available.ok && !ok2 {
		return nil
	}
	return &ray.Amount{Total: total, Used: r.Used.value, Available: r.Available.value}
}

// memory returns a GPU's memory in bytes; 0 and 0 if unknown.
func (g gpuRow) memory() (used, total float64) {
	u, ok1 := g.MemUsed.amount()
	t, ok2 := g.MemTotal.amount()
	if !ok1 || !ok2 {
		return 0, 0
	}
	return u * mib, t * mib
}
