#!/usr/bin/env bash
# Prints every test that docs/reference/*-conformance.md names and that does not exist: `FILE: NAME` is a file below tests/ that holds NAME.
cd "$(dirname "$0")/../.." || exit 1
shopt -s nullglob
pages=(docs/reference/*conformance.md)
[ ${#pages[@]} -gt 0 ] || echo "there is no docs/reference/*conformance.md"
for page in "${pages[@]}"; do
  # shellcheck disable=SC2016 # the backticks are those of Markdown
  named=$(grep -oE '`[A-Za-z0-9_]+\.(c|lua): [^`]+`' "$page" | tr -d '`' | sort -u)
  [ -n "$named" ] || echo "$page names no test"
  while IFS= read -r test; do
    file=${test%%: *} name=${test#*: }
    found=$(find tests -path '*/node_modules' -prune -o -type f -name "$file" -print)
    if [ -z "$found" ]; then
      echo "$page: there is no test file $file"
    elif [[ $file == *.c ]]; then
      # as a test that is run, not only as a function
      # shellcheck disable=SC2086
      grep -qE "cmocka_unit_test[a-z_]*\(${name}[,)]" $found || echo "$page: $file has no test $name"
    else
      # shellcheck disable=SC2086
      grep -qF "it(\"$name\"" $found || echo "$page: $file has no test \"$name\""
    fi
  done <<<"$named"
done
true
