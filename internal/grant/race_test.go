package grant_test

import (
	"errors"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/client"
	"github.com/writ-auth/writ/internal/grant"
	"github.com/writ-auth/writ/internal/oauth"
	"github.com/writ-auth/writ/internal/store"
)

const many = 32

// TestRefreshAtOnce: many requests with the same refresh token are one rotation,
// and every one of them learns the one successor.
func TestRefreshAtOnce(t *testing.T) {
	for _, id := range []string{"web", "spa"} {
		t.Run(id, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, w *world) {
				first := w.open(t, id)
				answers, errs := make([]*grant.TokenResponse, many), make([]error, many)
				together(many, func(i int) { answers[i], errs[i] = w.refresh(t.Context(), id, first.RefreshToken) })
				for i := range many {
					if errs[i] != nil {
						t.Fatalf("request %d: %v", i, errs[i])
					}
					if answers[i].RefreshToken != answers[0].RefreshToken {
						t.Fatal("two successors of one token")
					}
					if !w.active(t, answers[i].AccessToken) {
						t.Errorf("access token %d is not good", i)
					}
				}
				if g := w.grantOf(t, answers[0].RefreshToken); !g.Ended.IsZero() {
					t.Errorf("the grant has ended: %s", g.EndReason)
				}
				must(w.refresh(t.Context(), id, answers[0].RefreshToken))(t)
			})
		})
	}
}

// TestCodeAtOnce: of many requests with the same code one wins, and because it
// was used again, what it won is ended.
func TestCodeAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		code := w.code(t, "web")
		answers, errs := make([]*grant.TokenResponse, many), make([]error, many)
		together(many, func(i int) { answers[i], errs[i] = w.redeem(t.Context(), "web", code) })
		var won *grant.TokenResponse
		for i := range many {
			if errs[i] != nil {
				refused(t, "a loser", oauth.InvalidGrant, errs[i])
				continue
			}
			if won != nil {
				t.Error("one code was redeemed twice")
			}
			won = answers[i]
		}
		if won == nil {
			t.Fatal("nobody won")
		}
		if g := w.grantOf(t, won.RefreshToken); g.Ended.IsZero() {
			t.Error("the grant lives although its code was used twice")
		}
		if w.active(t, won.AccessToken) {
			t.Error("the winner's access token is good")
		}
		_, err := w.refresh(t.Context(), "web", won.RefreshToken)
		refused(t, "the winner's refresh token", oauth.InvalidGrant, err)
	})
}

// TestRefreshAndEndAtOnce: a refresh that races with the end of its grant either
// comes first, and its tokens die with the grant, or it is refused.
func TestRefreshAndEndAtOnce(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		for range 10 {
			first := w.open(t, "web")
			var answer *grant.TokenResponse
			var refreshed, revoked error
			together(2, func(i int) {
				if i == 0 {
					answer, refreshed = w.refresh(t.Context(), "web", first.RefreshToken)
				} else {
					revoked = w.Revoke(t.Context(), credentials("web"), first.RefreshToken, "")
				}
			})
			if revoked != nil {
				t.Fatalf("revocation: %v", revoked)
			}
			if refreshed != nil {
				refused(t, "the refresh", oauth.InvalidGrant, refreshed)
				continue
			}
			if w.active(t, answer.AccessToken) {
				t.Fatal("an access token outlives its grant")
			}
			_, err := w.refresh(t.Context(), "web", answer.RefreshToken)
			refused(t, "the successor", oauth.InvalidGrant, err)
		}
	})
}

// TestReplayEndsFamily walks through who presents a spent refresh token when.
func TestReplayEndsFamily(t *testing.T) {
	const window = grant.ReplayWindow
	eachDatabase(t, func(t *testing.T, w *world) {
		for _, tt := range []struct {
			name, client string
			wait         time.Duration // from the rotation to the replay
			used         time.Duration // from the successor's use to the replay; 0: it was not used
			replays      bool          // gets the same successor
			ends         bool          // the grant
		}{
			{"public, in the window", "spa", window, 0, true, false},
			{"public, after it", "spa", window + time.Microsecond, 0, false, true},
			{"confidential, much later", "web", 20 * time.Hour, 0, true, false},
			{"public, successor just used", "spa", time.Second, time.Second, false, false},
			{"confidential, successor just used", "web", time.Hour, window, false, false},
			{"confidential, successor used before", "web", time.Hour, window + time.Microsecond, false, true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				first := w.open(t, tt.client)
				second := must(w.refresh(t.Context(), tt.client, first.RefreshToken))(t)
				newest := second
				w.clock.pass(tt.wait - tt.used)
				if tt.used > 0 {
					newest = must(w.refresh(t.Context(), tt.client, second.RefreshToken))(t)
				}
				w.clock.pass(tt.used)

				again, err := w.refresh(t.Context(), tt.client, first.RefreshToken)
				if !tt.replays {
					refused(t, "the replay", oauth.InvalidGrant, err)
				} else if err != nil || again.RefreshToken != second.RefreshToken {
					t.Errorf("the replay: %v, want the same successor", err)
				}
				if g := w.grantOf(t, newest.RefreshToken); g.Ended.IsZero() == tt.ends {
					t.Errorf("ended = %v (%s), want %v", !g.Ended.IsZero(), g.EndReason, tt.ends)
				}
				_, err = w.refresh(t.Context(), tt.client, newest.RefreshToken)
				if tt.ends {
					refused(t, "the newest token", oauth.InvalidGrant, err)
				} else if err != nil {
					t.Errorf("the newest token: %v", err)
				}
			})
		}
	})
}

// TestReplayWritesRule: the end that a replay brings reaches guards, too.
func TestReplayWritesRule(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		first := w.open(t, "spa")
		second := must(w.refresh(t.Context(), "spa", first.RefreshToken))(t)
		w.clock.pass(time.Minute)
		_, err := w.refresh(t.Context(), "spa", first.RefreshToken)
		refused(t, "the replay", oauth.InvalidGrant, err)
		if w.active(t, second.AccessToken) {
			t.Error("the thief's or the victim's access token is good")
		}
		g := w.grantOf(t, second.RefreshToken)
		var rules []store.Entry
		err = w.db.View(t.Context(), func(tx *store.Tx) (err error) {
			rules, err = tx.Rules("grant", g.ID)
			return err
		})
		if err != nil || len(rules) != 1 || !rules[0].Until.After(w.clock.now()) {
			t.Errorf("rules = %+v, %v, want one that lives", rules, err)
		}
	})
}

// TestForeignReplay: nobody but its own client can end a grant with a spent token
// or a used code.
func TestForeignReplay(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		code := w.code(t, "web")
		first := must(w.redeem(t.Context(), "web", code))(t)
		second := must(w.refresh(t.Context(), "web", first.RefreshToken))(t)
		third := must(w.refresh(t.Context(), "web", second.RefreshToken))(t)
		w.clock.pass(time.Hour)
		for _, id := range []string{"other", "spa"} {
			for _, token := range []string{first.RefreshToken, second.RefreshToken, third.RefreshToken} {
				_, err := w.refresh(t.Context(), id, token)
				refused(t, "a token at "+id, oauth.InvalidGrant, err)
			}
			_, err := w.redeem(t.Context(), id, code)
			refused(t, "the code at "+id, oauth.InvalidGrant, err)
		}
		must(w.refresh(t.Context(), "web", third.RefreshToken))(t)
	})
}

// TestTimesOut: codes, refresh tokens, grants and subject tokens have an end.
func TestTimesOut(t *testing.T) {
	const day = 24 * time.Hour
	eachDatabase(t, func(t *testing.T, w *world) {
		t.Run("code", func(t *testing.T) {
			early, late := w.code(t, "web"), w.code(t, "web")
			w.clock.pass(time.Minute - time.Millisecond)
			must(w.redeem(t.Context(), "web", early))(t)
			w.clock.pass(time.Millisecond)
			_, err := w.redeem(t.Context(), "web", late)
			refused(t, "after a minute", oauth.InvalidGrant, err)
		})
		t.Run("code used again after its end", func(t *testing.T) {
			code := w.code(t, "web")
			issued := must(w.redeem(t.Context(), "web", code))(t)
			w.clock.pass(2 * time.Minute)
			_, err := w.redeem(t.Context(), "web", code)
			refused(t, "again", oauth.InvalidGrant, err)
			if w.active(t, issued.AccessToken) {
				t.Error("the first access token is good")
			}
		})
		t.Run("refresh token that nobody uses", func(t *testing.T) {
			issued := w.open(t, "web")
			w.clock.pass(30 * day)
			_, err := w.refresh(t.Context(), "web", issued.RefreshToken)
			refused(t, "after 30 days", oauth.InvalidGrant, err)
		})
		t.Run("grant that is always used", func(t *testing.T) {
			issued := w.open(t, "web")
			for range 4 {
				w.clock.pass(20 * day)
				issued = must(w.refresh(t.Context(), "web", issued.RefreshToken))(t)
			}
			w.clock.pass(10*day - time.Minute)
			last := must(w.refresh(t.Context(), "web", issued.RefreshToken))(t)
			if last.ExpiresIn > 60 {
				t.Errorf("expires_in = %d, want no more than the grant's last minute", last.ExpiresIn)
			}
			w.clock.pass(time.Minute)
			_, err := w.refresh(t.Context(), "web", last.RefreshToken)
			refused(t, "after 90 days", oauth.InvalidGrant, err)
		})
		t.Run("subject token", func(t *testing.T) {
			issued := w.open(t, "web")
			w.clock.pass(4 * time.Minute)
			late := must(w.exchange(t.Context(), issued.AccessToken))(t)
			if late.ExpiresIn > 60 {
				t.Errorf("expires_in = %d, want no more than the subject token's last minute", late.ExpiresIn)
			}
			w.clock.pass(time.Minute)
			_, err := w.exchange(t.Context(), issued.AccessToken)
			refused(t, "after its end", oauth.InvalidRequest, err)
		})
	})
}

// TestSuccessorIsSealed: what the store keeps of a spent token does not give its
// successor away.
func TestSuccessorIsSealed(t *testing.T) {
	eachDatabase(t, func(t *testing.T, w *world) {
		first := w.open(t, "web")
		second := must(w.refresh(t.Context(), "web", first.RefreshToken))(t)
		err := w.db.View(t.Context(), func(tx *store.Tx) error {
			spent, err := tx.Refresh(client.HashSecret(first.RefreshToken))
			if err != nil {
				return err
			}
			if len(spent.Successor) <= len(second.RefreshToken) {
				return errors.New("the successor is not kept sealed")
			}
			_, err = tx.Refresh([]byte(second.RefreshToken))
			if !errors.Is(err, store.ErrNotFound) {
				return errors.New("a refresh token is found by its plain value")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
