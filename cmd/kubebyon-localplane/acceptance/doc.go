// Package acceptance holds the tests of the kubebyon-localplane binary, run as others run it: as
// processes, through flags, standard output and the Kubernetes API.
//
// It imports none of Kubernetes' own code but the client, so that the race detector needs no
// second build of all of it. KUBEBYON_LOCALPLANE names the binary to test; without it one is
// built.
package acceptance
