// Package pkcs11 keeps private keys in a token behind PKCS#11, which a hardware
// security module usually is. It owns how keys are made, found and removed there,
// and nothing of what they sign. All of it is built with the tag pkcs11 only,
// because the library of such a module is called through cgo, and the plain binary
// is static.
//
// Invariant: a private key is made inside the token and cannot be read out of it.
package pkcs11
