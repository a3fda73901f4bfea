// Package tenants keeps tenant planes as child processes: one for each name that somebody holds,
// none for the others. Each has a directory, which outlives its process, and a listening socket,
// which outlives it too, so that a plane that is started again is found where it was.
//
// It knows nothing of pods: whoever holds a name says what the plane should be, and is told when
// that name's state has changed.
package tenants
