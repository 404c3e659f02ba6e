//go:build unix

package bench

import (
	"fmt"
	"syscall"
)

// descriptors makes room for so many open files. Go has raised the limit to the
// highest that is allowed; root may go beyond that.
func descriptors(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if uint64(limit.Cur) >= uint64(n) {
		return nil
	}
	want := limit
	want.Cur = uint64(n)
	want.Max = max(want.Max, want.Cur)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return fmt.Errorf("%d open files are needed and %d allowed: %w", n, limit.Cur, err)
	}
	return nil
}
