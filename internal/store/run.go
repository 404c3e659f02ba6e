package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Run removes what has expired, every minute, and on PostgreSQL tells other replicas of
// this one's changes to the feed and listens for theirs. It returns when ctx ends.
func (d *DB) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.tidy(ctx)
	}()
	err := d.back.run(ctx, d.wake)
	<-done
	return err
}

const (
	channel = "writ_feed"
	// pause lets a storm of rules go out as one NOTIFY: each takes a lock that all
	// databases of the server share.
	pause = 2 * time.Millisecond
)

// tell notes that a NOTIFY is owed. It is never part of the transaction: its commit would
// queue behind that server-wide lock.
func (p *postgres) tell() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// run sends the NOTIFYs that are owed, and listens, until ctx ends.
func (p *postgres) run(ctx context.Context, wake func()) error {
	p.running.Store(true)
	defer p.running.Store(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.listen(ctx, wake)
	}()
	defer func() { <-done }()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.news:
			p.notify()
			sleep(ctx, pause)
		}
	}
}

// notify sends one NOTIFY, at best: replicas that miss it poll.
func (p *postgres) notify() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := p.pool.get(ctx)
	if err != nil {
		return
	}
	_, err = c.conn.Exec(ctx, "SELECT pg_notify($1, $2)", channel, p.issuer)
	p.back(c, err == nil)
}

// listen wakes the follower for each NOTIFY of another session about this issuer, and
// whenever it has connected, as it may have missed some before.
func (p *postgres) listen(ctx context.Context, wake func()) {
	wait := firstWait
	for ctx.Err() == nil {
		conn, err := p.subscribe(ctx)
		if err == nil {
			wake()
			wait = firstWait
			p.follow(ctx, conn, wake)
		}
		sleep(ctx, wait)
		wait = min(2*wait, 8*longest)
	}
}

func (p *postgres) subscribe(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, p.cfg)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// follow returns when the connection is lost. A look every so often finds out that a
// connection which went silent is dead.
func (p *postgres) follow(ctx context.Context, conn *pgx.Conn, wake func()) {
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn.Close(end)
	}()
	for {
		look, cancel := context.WithTimeout(ctx, p.patience)
		n, err := conn.WaitForNotification(look)
		quiet := look.Err() != nil && ctx.Err() == nil && !conn.IsClosed()
		if quiet {
			ping, stop := context.WithTimeout(ctx, p.patience)
			err = conn.Ping(ping)
			stop()
		}
		cancel()
		if err != nil {
			return
		}
		if n != nil && n.Payload == p.issuer {
			wake()
		}
	}
}
