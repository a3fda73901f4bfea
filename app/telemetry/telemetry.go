// Package telemetry gives the server's programs the metrics that they serve.
package telemetry

import "github.com/kubebyon/kubebyon/adapters/prommetrics"

// Metrics counts and times what the server does.
type Metrics = prommetrics.Metrics

// NewMetrics makes metrics of a program of that version.
func NewMetrics(version string) *Metrics { return prommetrics.New(version) }
