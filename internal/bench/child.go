package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"syscall"
	"time"
)

// Process is a program that runs beside the measurement, so that its processor time
// and memory can be told apart. It reads JSON on standard input and answers there.
type Process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	said *json.Decoder
}

// Launch starts a program. It ends with Close, at the latest with its command's context.
func Launch(cmd *exec.Cmd) (*Process, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // for it may have others to end
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return &Process{cmd: cmd, in: in, said: json.NewDecoder(out)}, nil
}

// Tell sends v to the program.
func (p *Process) Tell(v any) error { return json.NewEncoder(p.in).Encode(v) }

// Hear reads the next value that the program says. A program that says nothing for
// so long is killed.
func (p *Process) Hear(v any, limit time.Duration) error {
	killer := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer killer.Stop()
	if err := p.said.Decode(v); err != nil {
		return fmt.Errorf("%s said nothing that can be read within %v: %w", p.cmd.Path, limit, err)
	}
	return nil
}

// CPU is the processor time that the program and those it started have used.
func (p *Process) CPU() (time.Duration, error) { return cpu(p.cmd.Process.Pid) }

// Close ends the program and waits until it has.
func (p *Process) Close() {
	_ = p.in.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	killer := time.AfterFunc(3*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer killer.Stop()
	_ = p.cmd.Wait() // that it was ended is no news
}

// FreePort is a loopback address at which nobody listens.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// Await waits until a server answers a URL with 200, however it was started.
func Await(ctx context.Context, url string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		_, err := get(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready within %v: %w", limit, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Child is the other side of a Process that is writ itself: it does what kind says
// until in or ctx ends.
func Child(ctx context.Context, cfg Config, kind string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := json.NewDecoder(in)
	var err error
	switch kind {
	case "proxy":
		err = childProxy(ctx, asked, out)
	case "issuer":
		var i *Issuer
		if i, err = childIssuer(ctx, cfg, asked, out); err == nil {
			defer i.Close()
		}
	case "readers":
		err = childReaders(ctx, asked, out)
	default:
		err = fmt.Errorf("no child %q", kind)
	}
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in) // until the other side closes it or is gone
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	return nil
}

// childProxy is the plain reverse proxy: it reads its upstream and says its origin.
func childProxy(ctx context.Context, asked *json.Decoder, out io.Writer) error {
	var upstream string
	if err := asked.Decode(&upstream); err != nil {
		return err
	}
	origin, err := plainProxy(ctx, upstream)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(origin)
}

// Wanted is what a child that is an issuer reads.
type Wanted struct {
	Tokens map[string]int // how many, by algorithm
}

// Issued is what it says.
type Issued struct {
	URL, Resource, Gateway, ClientID, Secret string
	Tokens                                   map[string][]string
}

func childIssuer(ctx context.Context, cfg Config, asked *json.Decoder, out io.Writer) (*Issuer, error) {
	var wanted Wanted
	if err := asked.Decode(&wanted); err != nil {
		return nil, err
	}
	i, err := cfg.Start(ctx, 0)
	if err != nil {
		return nil, err
	}
	issued := Issued{URL: i.URL, Resource: i.Resource, Gateway: i.Gateway, ClientID: i.ClientID, Secret: i.Secret, Tokens: map[string][]string{}}
	for alg, n := range wanted.Tokens {
		if issued.Tokens[alg], err = samples(i, alg, n, func(int) {}); err != nil {
			break
		}
	}
	if err == nil {
		err = json.NewEncoder(out).Encode(issued)
	}
	if err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// StartProxy starts the plain reverse proxy as a process.
func StartProxy(ctx context.Context, cfg Config, upstream string) (*Process, string, error) {
	p, err := Launch(cfg.Self(ctx, "bench", "child", "proxy"))
	if err != nil {
		return nil, "", err
	}
	var origin string
	if err = errors.Join(p.Tell(upstream), p.Hear(&origin, 10*time.Second)); err != nil {
		p.Close()
		return nil, "", err
	}
	return p, origin, nil
}
