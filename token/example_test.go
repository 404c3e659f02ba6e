package token_test

import (
	"fmt"

	"github.com/writ-auth/writ/token"
)

func ExampleDecode() {
	claims, err := token.Decode([]byte(`{"iss":"https://as.example","sub":"u_7f3","aud":"https://api.example/orders",
		"client_id":"app","iat":1795430000,"exp":1795430300,"jti":"t1","scope":"orders:read","roles":["analyst"]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	var roles []string
	if _, err := claims.Extra("roles", &roles); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(claims.Subject, claims.Has("orders:read"), claims.Has("orders:write"), roles)

	_, err = token.Decode([]byte(`{"iss":"https://as.example","exp":"1795430300"}`))
	fmt.Println(err)
	// Output:
	// u_7f3 true false [analyst]
	// token: exp: want a number
}

func ExampleInsecureParse() {
	// Nothing is checked: show what a token says, never act on it.
	claims, err := token.InsecureParse("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9." +
		"eyJpc3MiOiJodHRwczovL2FzLmV4YW1wbGUiLCJzdWIiOiJ1XzdmMyIsImF1ZCI6Imh0dHBzOi8vYXBpLmV4YW1wbGUiLCJjbGllbnRfaWQiOiJhcHAi" +
		"LCJpYXQiOjE3OTU0MzAwMDAsImV4cCI6MTc5NTQzMDMwMCwianRpIjoidDEifQ.AAAA")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(claims.Subject, claims.Expiry.Format("15:04:05"))
	// Output: u_7f3 10:38:20
}
