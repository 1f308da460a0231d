# What the build is made of. None of these takes a secret: Packer writes variables to logs and hands them to the machine in
# the clear. Secrets are read on the machine itself, from Systems Manager, by its role: see `secret_parameters`.

# --- The build whose cache is baked -----------------------------------------------------------------------------------

variable "repo" {
  type        = string
  description = "Git repository of the project, as CI clones it: https://github.com/you/project. Never with a password: a token comes from secret_parameters."

  validation {
    condition     = var.repo != ""
    error_message = "The repo must not be empty."
  }
}

variable "rev" {
  type        = string
  default     = ""
  description = "Branch, tag or commit. Empty: the remote's HEAD."
}

variable "submodules" {
  type        = bool
  default     = false
  description = "Check out submodules as well."
}

variable "bake_file" {
  type        = string
  default     = ""
  description = "File that `docker buildx bake --print` wrote in CI. With it, context, file, targets and build_args stay empty."
}

variable "bake_targets" {
  type        = list(string)
  default     = []
  description = "Targets or groups of bake_file. Empty: its default group."
}

variable "context" {
  type        = string
  default     = ""
  description = "Build context, a directory of the checkout. Empty: all of it."
}

variable "file" {
  type        = string
  default     = ""
  description = "Dockerfile, relative to the checkout. Empty: Dockerfile in the context."
}

variable "targets" {
  type        = list(string)
  default     = []
  description = "Stages to warm. Empty: the last one."
}

variable "build_args" {
  type        = map(string)
  default     = {}
  description = "Build arguments, exactly CI's: they are part of the cache's keys."
}

variable "cache_from" {
  type        = list(string)
  description = "Registry caches that CI exports, in order. {rev} becomes the commit."

  validation {
    condition     = length(var.cache_from) > 0
    error_message = "The cache_from list must not be empty: without a cache, every step would run."
  }
}

variable "min_hit_rate" {
  type        = number
  default     = 0.9
  description = "Least share of steps, 0 to 1, that the caches must have; below it there is no AMI."

  validation {
    condition     = var.min_hit_rate >= 0 && var.min_hit_rate <= 1
    error_message = "The min_hit_rate is a share: 0 to 1."
  }
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "Any other setting of `cachewarm warm` and `cachewarm seal`, by its flag: { \"cache-optional\" = \"true\", platform = \"linux/arm64\" }. Several values of one have a line break between them."
}

variable "secrets" {
  type        = list(string)
  default     = []
  description = "Build secrets, id=ID,env=VARIABLE; the VARIABLE is one of secret_parameters."
}

variable "secret_parameters" {
  type        = map(string)
  default     = {}
  description = "Secrets by the variable that they go into: the name of an SSM parameter in region, which the instance profile may read. CACHEWARM_GIT_TOKEN is the token for repo."
}

# --- What is installed ------------------------------------------------------------------------------------------------

variable "cachewarm_binary" {
  type        = string
  default     = "target/release/cachewarm"
  description = "The cachewarm binary to install, for the machine's architecture."
}

variable "buildkit_version" {
  type        = string
  default     = "v0.34.2"
  description = "The BuildKit release to install."
}

variable "buildkit_sha256" {
  type        = string
  description = "SHA-256 of the release's archive; what has another one is not installed."

  validation {
    condition     = length(var.buildkit_sha256) == 64
    error_message = "The buildkit_sha256 is 64 hexadecimal digits."
  }
}

variable "buildkit_url" {
  type        = string
  default     = ""
  description = "Where the machine downloads the archive from. Empty: GitHub's release of buildkit_version."
}

variable "buildkit_archive" {
  type        = string
  default     = ""
  description = "The archive as a local file, for machines without a way to buildkit_url. It is uploaded."
}

variable "buildkitd_config" {
  type        = string
  default     = ""
  description = "Your own buildkitd.toml. Empty: files/buildkitd.toml."
}

variable "builder_users" {
  type        = list(string)
  default     = []
  description = "Users who exist on the machine and whose CI jobs may use BuildKit. Each gets a buildx builder named `warm`."
}

variable "commands_before_install" {
  type        = list(string)
  default     = []
  description = "Shell commands as root before anything is installed: a company's certificates, its mirrors."
}

variable "commands_before_seal" {
  type        = list(string)
  default     = []
  description = "Shell commands as root after the cache is warm: whatever else the image needs. What they leave is searched for secrets."
}

# --- The machine and the image ----------------------------------------------------------------------------------------

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "iam_instance_profile" {
  type        = string
  description = "Instance profile whose role may pull cache_from and read secret_parameters: iam/instance-profile.json."
}

variable "instance_type" {
  type        = string
  default     = "c6i.2xlarge"
  description = "Decompression and disk set the pace: cores help, a slow EBS limit does not."
}

variable "source_ami_name" {
  type    = string
  default = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
}

variable "source_ami_owners" {
  type        = list(string)
  default     = ["099720109477"]
  description = "Accounts whose images may be the source; Canonical's unless changed."
}

variable "ssh_username" {
  type    = string
  default = "ubuntu"
}

variable "ssh_interface" {
  type        = string
  default     = ""
  description = "private_ip where Packer runs inside the VPC. Empty: the public address if there is one."
}

variable "ssh_source_cidrs" {
  type        = list(string)
  default     = []
  description = "Who may reach the machine's ssh port while it is built. Empty: this machine's public address, with Packer 1.6.6 everybody."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Empty: the default VPC."
}

variable "security_group_id" {
  type        = string
  default     = ""
  description = "Empty: one that Packer makes and removes."
}

variable "associate_public_ip_address" {
  type    = bool
  default = false
}

variable "root_device_name" {
  type        = string
  default     = "/dev/sda1"
  description = "Of the source AMI: /dev/sda1 for Ubuntu, /dev/xvda for Debian."
}

variable "volume_size_gb" {
  type        = number
  default     = 100
  description = "Size of the root volume. The cache needs its compressed and its unpacked size, and the builds need room."
}

variable "volume_iops" {
  type    = number
  default = 6000
}

variable "volume_throughput" {
  type        = number
  default     = 500
  description = "MiB/s of the volume while the image is built."
}

variable "encrypt_boot" {
  type    = bool
  default = false
}

variable "kms_key_id" {
  type    = string
  default = ""
}

variable "ami_prefix" {
  type        = string
  default     = "cachewarm"
  description = "The AMI's name begins with it; a time stamp follows."
}

variable "ami_regions" {
  type        = list(string)
  default     = []
  description = "Regions the AMI is copied to."
}

variable "ami_users" {
  type        = list(string)
  default     = []
  description = "Accounts that may launch the AMI."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Further tags of the AMI, its snapshots, the machine and its volume."
}

variable "custom_endpoint_ec2" {
  type        = string
  default     = ""
  description = "Another address of EC2's API, such as a VPC endpoint's."
}

variable "output_dir" {
  type        = string
  default     = "."
  description = "Where manifest.json and sealed.json go, on the machine that runs Packer."
}
