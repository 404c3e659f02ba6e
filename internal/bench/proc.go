package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is what /proc counts processor time in: 100 a second wherever Go runs (proc_pid_stat(5)).
const tick = 10 * time.Millisecond

// ownCPU is the processor time that a process has used. Only Linux tells.
func ownCPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	s, err := readStat(text)
	return s.used, err
}

// cpu is the processor time that a process and its children have used.
func cpu(pid int) (time.Duration, error) {
	total, err := ownCPU(pid)
	if err != nil {
		return 0, err
	}
	others, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, name := range others {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if other, err := readStat(text); err == nil && other.parent == pid {
			total += other.used
		}
	}
	return total, nil
}

// stat is what we read of a line of /proc/PID/stat.
type stat struct {
	parent int
	used   time.Duration // in user and system mode, by itself and by children it waited for
}

func readStat(text []byte) (stat, error) {
	// The second field is the command's name in brackets, and may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return stat{}, errors.New("processor time: not a line of /proc/PID/stat")
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return stat{}, fmt.Errorf("processor time: %w", err)
	}
	s := stat{parent: parent}
	for _, f := range fields[11:15] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return stat{}, fmt.Errorf("processor time: %w", err)
		}
		s.used += time.Duration(n) * tick
	}
	return s, nil
}

// PerRequests is processor seconds for 100,000 requests.
func PerRequests(used time.Duration, requests int) float64 {
	return used.Seconds() * 100_000 / float64(requests)
}
