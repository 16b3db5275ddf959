#!/bin/sh
# Resolve pyproject.toml's dependencies in fresh environments and write down every version.
# onnxruntime-gpu exists for Linux on x86-64 only: elsewhere the plain package of the same version takes its place.
set -eu
python=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

lock() { # name, extras
	"$python" -m venv "$work/$1"
	"$work/$1/bin/pip" install --quiet --disable-pip-version-check "$here/..$2"
	"$work/$1/bin/pip" freeze --exclude amostra | sed -E \
		-e 's/^(torch==[0-9.]+)\+cpu$/\1/' \
		-e "s/^onnxruntime-gpu==(.*)$/onnxruntime-gpu==\1; sys_platform == 'linux' and platform_machine == 'x86_64'\nonnxruntime==\1; sys_platform != 'linux' or platform_machine != 'x86_64'/" \
		-e "s/^(uvloop==.*)$/\1; sys_platform != 'win32'/" >"$work/$1.txt"
	mv "$work/$1.txt" "$here/$1.txt"
}

beside() { # name, extras: what they need beside serve.txt
	lock "$1" "$2"
	grep -vxFf "$here/serve.txt" "$here/$1.txt" >"$work/$1.txt"
	mv "$work/$1.txt" "$here/$1.txt"
}

lock serve "[serve]"
beside serve-gpu "[serve,gpu]"
beside serve-options "[serve,signing,tracing]"
beside jobs "[serve,signing,tracing,jobs,ray-cluster]"
lock dev "[train,test]"
