//go:build race

package acceptance_test

const raceEnabled = true
