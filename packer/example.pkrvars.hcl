# Your settings: copy this file, and see variables.pkr.hcl for the rest of them.

region               = "eu-west-1"
iam_instance_profile = "cachewarm"

# The build, exactly as CI does it: arguments are part of the cache's keys.
repo       = "https://github.com/you/project"
rev        = "main"
targets    = ["test"]
build_args = { VERSION = "1,2" }
cache_from = ["123456789012.dkr.ecr.eu-west-1.amazonaws.com/ci/cache:main"]

# Below this share of steps found in the cache there is no AMI.
min_hit_rate = 0.9

# BuildKit's release, and the SHA-256 of its archive for the machine's architecture.
buildkit_version = "v0.34.2"
buildkit_sha256  = "0000000000000000000000000000000000000000000000000000000000000000"
