// Package openapi holds the documents that describe the API, generated from the
// code without a running server. make verify fails when they are out of date.
package openapi

//go:generate go run ../cmd/kubebyon openapi --output console.yaml
//go:generate go run ../cmd/kubebyon openapi --openapi 3.0 --output console-3.0.yaml
//go:generate go run ../cmd/kubebyon openapi --api kite --output kite.yaml
