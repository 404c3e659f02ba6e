package scope_test

import (
	"fmt"

	"github.com/writ-auth/writ/scope"
)

func ExampleParse() {
	s, err := scope.Parse("orders:write orders:read orders:read")
	fmt.Println(s, err)

	_, err = scope.Parse("orders:read  orders:write")
	fmt.Println(err)
	// Output:
	// orders:read orders:write <nil>
	// scope: names must be separated by exactly one space
}

func ExampleSet_Has() {
	s := scope.Set{"orders:read", "profile"}
	fmt.Println(s.Has("orders:read"), s.Has("orders"))
	// Output: true false
}

func ExampleSet_Intersect() {
	allowed := scope.Set{"orders:read", "orders:write"}
	asked := scope.Set{"admin", "orders:read"}
	fmt.Println(allowed.Intersect(asked), allowed.Contains(asked))
	// Output: orders:read false
}

func ExampleSet_Union() {
	fmt.Println(scope.Set{"profile"}.Union(scope.Set{"email", "profile"}))
	// Output: email profile
}
