#!/bin/sh
# Makes the secrets of compose.yaml in the folder secrets beside this file, each
# once: what is there is kept. The argument is the kubeconfig of the host cluster.
set -eu
umask 077

if [ $# -ne 1 ] || [ ! -r "$1" ] || [ ! -s "$1" ]; then
	echo "usage: $0 KUBECONFIG-OF-THE-HOST-CLUSTER" >&2
	exit 2
fi
if ! command -v openssl >/dev/null; then
	echo "$0 makes passwords with openssl, which is not installed: install it first" >&2
	exit 2
fi
dir=${KUBEBYON_SECRETS_DIR:-$(dirname "$0")/secrets}
mkdir -p "$dir"

random() { openssl rand -hex 24; }

nothing() {
	echo "$0: openssl gave nothing for $1" >&2
	exit 1
}

# The folder is closed to others. The files are not: containers read them as
# users of their own. An empty one would be a password that everybody knows.
keep() {
	[ -e "$dir/$1" ] && return
	cat >"$dir/.$1"
	if [ ! -s "$dir/.$1" ]; then
		rm -f "$dir/.$1"
		nothing "$1"
	fi
	chmod 0444 "$dir/.$1"
	mv "$dir/.$1" "$dir/$1"
}

random | keep postgres-password
random | keep admin-password
openssl rand -base64 32 | keep secret-key
printf 'postgres://kubebyon:%s@postgres:5432/kubebyon?sslmode=disable\n' "$(cat "$dir/postgres-password")" | keep database-url
broker=$(random)
[ -n "$broker" ] || nothing rabbitmq.conf
printf 'default_user = kubebyon\ndefault_pass = %s\n' "$broker" | keep rabbitmq.conf
printf 'amqp://kubebyon:%s@rabbitmq:5672/\n' "$(sed -n 's/^default_pass = //p' "$dir/rabbitmq.conf")" | keep amqp-url
rm -f "$dir/kubeconfig"
keep kubeconfig <"$1"
echo "The secrets are in $dir; the administrator's password is in admin-password."
