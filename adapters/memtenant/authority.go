package memtenant

// authority is a certificate that nobody has the key of any more: what reads an
// Endpoint may want one that can be parsed.
const authority = `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUWQkakV59W6dBzae0f7eqBT5t+/YwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbWVtdGVuYW50MCAXDTI2MTEyMTA4NTMwNloYDzIxMjYxMDI4
MDg1MzA2WjAUMRIwEAYDVQQDDAltZW10ZW5hbnQwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQT+Vfl96v1rjgZlZrWA2fi6Ju75YZKJukBMNtLlrCp1TOx4sId3czP
UQzt/4uC6GvI2HXb2aMtDRtApKZdm7Pxo1MwUTAdBgNVHQ4EFgQU7JGQCCsXBpAq
BDkIaznbutjjX6EwHwYDVR0jBBgwFoAU7JGQCCsXBpAqBDkIaznbutjjX6EwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA3iwWyWuteBsRYd7lMJ/j
WyyPlFQiTVV4UeRC/fVQcZQCIBX2/+mOB/L2o9rr0n8CO3A0LlE6NMsh73cP7cTQ
VB+F
-----END CERTIFICATE-----
`

const authorityHash = "sha256:b6aeabaec3d811a50824535cf86fa2ea54c87d260d5eb8704771bb5a5fd242d3"
