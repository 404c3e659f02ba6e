package grant

import (
	"fmt"
	"testing"
	"time"

	"github.com/writ-auth/writ/internal/store"
)

func TestJudgeKey(t *testing.T) {
	start := time.Unix(1800000000, 0)
	keys := func(client string, n int) (list []store.InnerKey) {
		for i := range n {
			list = append(list, store.InnerKey{
				ClientID: client, ID: fmt.Sprint(client, i), Created: start.Add(-innerPause), Expires: start.Add(time.Duration(n-i) * time.Hour),
			})
		}
		return list
	}
	var crowd []store.InnerKey
	for i := range allInner / innerKeys {
		crowd = append(crowd, keys(fmt.Sprint("c", i, "-"), innerKeys)...)
	}
	fresh := keys("gate", innerKeys)
	for i := range fresh {
		fresh[i].Created = start.Add(-innerPause + time.Second)
	}
	for _, test := range []struct {
		name    string
		all     []store.InnerKey
		key     store.InnerKey
		verdict keyVerdict
		old     string
	}{
		{"the first", nil, store.InnerKey{ClientID: "gate", ID: "k"}, keyNew, ""},
		{"again", keys("gate", innerKeys), store.InnerKey{ClientID: "gate", ID: "gate3"}, keyProlonged, "gate3"},
		{"another client's", keys("gate", 1), store.InnerKey{ClientID: "other", ID: "gate0"}, keyTaken, "gate0"},
		{"room for one", keys("gate", innerKeys-1), store.InnerKey{ClientID: "gate", ID: "k"}, keyNew, ""},
		{"full: what ends first goes", keys("gate", innerKeys), store.InnerKey{ClientID: "gate", ID: "k"}, keyReplaces, "gate7"},
		{"full of new ones", fresh, store.InnerKey{ClientID: "gate", ID: "k"}, keyCrowded, ""},
		{"full of others'", keys("other", innerKeys), store.InnerKey{ClientID: "gate", ID: "k"}, keyNew, ""},
		{"a crowd", crowd, store.InnerKey{ClientID: "gate", ID: "k"}, keyCrowded, ""},
		{"one's own place in a crowd", crowd, store.InnerKey{ClientID: "c0-", ID: "k"}, keyReplaces, "c0-7"},
	} {
		test.key.Created = start
		verdict, old := judgeKey(test.all, test.key)
		if verdict != test.verdict || old.ID != test.old {
			t.Errorf("%s: verdict %d about %q, want %d about %q", test.name, verdict, old.ID, test.verdict, test.old)
		}
	}
}
