# shellcheck shell=bash
# Sourced: exports the variables of SECRET_PARAMETERS (parameters.py). Their values are never on disk, and never among a
# program's arguments, where every user sees them.
while IFS= read -r -d '' secret; do
  export "${secret?}"
done < <("$(dirname "${BASH_SOURCE[0]}")/parameters.py")
wait $! || exit 1
unset secret
