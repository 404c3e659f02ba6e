package bench

// descriptors makes room for so many open files: here nothing limits them.
func descriptors(int) error { return nil }
