#!/usr/bin/env bash
# Run the fast tests on each supported version of Python, each in its own environment (.venv-3.12).
# A version that is neither on PATH nor under pyenv is named and skipped.
set -uo pipefail
cd "$(dirname "$0")/.."

# Print the first interpreter of a version that runs: pyenv puts commands on PATH that do not.
interpreter() {
	for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
		if "$candidate" -c "" 2>/dev/null; then
			echo "$candidate"
			return
		fi
	done
	return 1
}

passed="" failed="" missing=""
for version in 3.11 3.12 3.13; do
	if ! python=$(interpreter "$version"); then
		missing+=" $version"
		continue
	fi
	echo "Python $version: $python"
	if "${MAKE:-make}" --no-print-directory test-fast PYTHON="$python" VENV=".venv-$version"; then
		passed+=" $version"
	else
		failed+=" $version"
	fi
done
echo "Python versions: passed:${passed:- none}; failed:${failed:- none}; not found:${missing:- none}"
[ -z "$failed" ] && [ -n "$passed" ]
