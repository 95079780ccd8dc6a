#!/bin/sh
# Print the Python to build the environment with: $1 if it is given, else the first that is found.
# A Python that is too old or too new is refused here, before anything is installed.
supported="3.11 3.12 3.13"

# Print the version of an interpreter, such as 3.12; nothing if it does not run.
version() {
	"$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

is_supported() {
	case " $supported " in *" $(version "$1") "*) true ;; *) false ;; esac
}

refuse() {
	{
		echo "error: $1. This project runs on Python 3.11, 3.12 and 3.13."
		echo "Install one of them, or name it: make install PYTHON=/path/to/python3.12"
	} >&2
	exit 1
}

if [ $# -gt 0 ]; then
	[ "$(version "$1")" ] || refuse "$1 is not a Python that runs"
	is_supported "$1" || refuse "$1 is Python $(version "$1")"
	echo "$1"
	exit
fi
for name in python3.11 python3.12 python3.13 python3 python; do
	if is_supported "$name"; then
		echo "$name"
		exit
	fi
done
found=""
for name in python3 python python3.8 python3.9 python3.10 python3.14 python3.15; do
	if [ "$(version "$name")" ]; then found="$found${found:+, }$name (Python $(version "$name"))"; fi
done
refuse "no suitable Python was found, only: ${found:-none at all}"
