# From a stock image to an AMI on which CI's build is warm, sound and clean: install, warm, seal, and only then a snapshot.
# Any step that fails ends the build without an AMI. Written for Packer 1.7 and newer; what 1.6.6 does not know stands between
# the lines `since 1.7 {` and `since 1.7 }`.

packer {
  required_version = ">= 1.6.6"
}

locals {
  stamp = formatdate("YYYYMMDDhhmmss", timestamp())
  # On the machine. Not /tmp: hardened images mount it noexec.
  upload = "/var/tmp/cachewarm"

  tags = merge({
    Name               = "${var.ami_prefix}-${local.stamp}"
    ManagedBy          = "packer"
    SourceAMI          = "{{ .SourceAMI }}"
    SourceAMIName      = "{{ .SourceAMIName }}"
    "cachewarm:repo"   = var.repo
    "cachewarm:rev"    = var.rev == "" ? "HEAD" : var.rev
    "buildkit:version" = var.buildkit_version
  }, var.tags)
  # The machine's: whoever finds a stray one knows whose it is.
  run_tags = merge({
    Name      = "Packer: ${var.ami_prefix}-${local.stamp}"
    ManagedBy = "packer"
  }, var.tags)

  # The flags of cachewarm by their variables. An entry ends with a line break, so that commas in it are its own.
  settings = [for name, value in merge({
    CACHEWARM_REPO         = var.repo
    CACHEWARM_REV          = var.rev
    CACHEWARM_SUBMODULES   = var.submodules ? "true" : ""
    CACHEWARM_BAKE         = var.bake_file == "" ? "" : "${local.upload}/${basename(var.bake_file)}"
    CACHEWARM_BAKE_TARGET  = join("\n", var.bake_targets)
    CACHEWARM_CONTEXT      = var.context
    CACHEWARM_FILE         = var.file
    CACHEWARM_TARGET       = join("\n", var.targets)
    CACHEWARM_BUILD_ARG    = join("", [for name, value in var.build_args : "${name}=${value}\n"])
    CACHEWARM_CACHE_FROM   = join("\n", var.cache_from)
    CACHEWARM_MIN_HIT_RATE = var.min_hit_rate
    CACHEWARM_SECRET       = join("", [for secret in var.secrets : "${secret}\n"])
    SECRET_PARAMETERS      = join("\n", [for name, parameter in var.secret_parameters : "${name}=${parameter}"])
    AWS_REGION             = var.region
    }, { for flag, value in var.settings : "CACHEWARM_${upper(replace(flag, "-", "_"))}" => value }
  ) : "${name}=${value}" if value != ""]

  # bash gets its flags here: a shebang does not count where the file is an argument. The values stay out of sudo's log.
  as_root = "chmod +x {{ .Path }}; {{ .Vars }} sudo -n -E -H bash -euo pipefail {{ .Path }}"
}

source "amazon-ebs" "cachewarm" {
  region              = var.region
  custom_endpoint_ec2 = var.custom_endpoint_ec2

  source_ami_filter {
    filters = {
      name                = var.source_ami_name
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = var.source_ami_owners
    most_recent = true
  }

  instance_type               = var.instance_type
  iam_instance_profile        = var.iam_instance_profile
  ebs_optimized               = true
  shutdown_behavior           = "terminate"
  subnet_id                   = var.subnet_id
  security_group_id           = var.security_group_id
  associate_public_ip_address = var.associate_public_ip_address

  # A fresh volume: blocks of deleted files are part of a snapshot, and of its first reads.
  launch_block_device_mappings {
    device_name           = var.root_device_name
    volume_type           = "gp3"
    volume_size           = var.volume_size_gb
    iops                  = var.volume_iops
    throughput            = var.volume_throughput
    delete_on_termination = true
  }

  communicator                          = "ssh"
  ssh_username                          = var.ssh_username
  ssh_interface                         = var.ssh_interface
  ssh_timeout                           = "10m"
  ssh_clear_authorized_keys             = true
  temporary_key_pair_type               = "ed25519"
  temporary_security_group_source_cidrs = length(var.ssh_source_cidrs) == 0 ? null : var.ssh_source_cidrs

  # since 1.7 {
  temporary_security_group_source_public_ip = length(var.ssh_source_cidrs) == 0
  # The machine's own, and what is asked of machines launched from the AMI.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  imds_support = "v2.0"
  # since 1.7 }

  # Snapshots of large volumes outlast Packer's own patience: up to four hours.
  aws_polling {
    delay_seconds = 30
    max_attempts  = 480
  }

  ami_name                = "${var.ami_prefix}-${local.stamp}"
  ami_description         = "BuildKit ${var.buildkit_version} with a warm cache of ${var.repo}"
  ami_virtualization_type = "hvm"
  ami_regions             = var.ami_regions
  ami_users               = var.ami_users
  ena_support             = true
  encrypt_boot            = var.encrypt_boot
  kms_key_id              = var.kms_key_id

  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = local.run_tags
  run_volume_tags = local.run_tags
}

build {
  name    = "cachewarm"
  sources = ["source.amazon-ebs.cachewarm"]

  provisioner "shell" {
    remote_folder   = "/var/tmp"
    execute_command = local.as_root
    inline = concat([
      "if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null; fi",
      "install -d -m 755 -o ${var.ssh_username} ${local.upload}",
    ], var.commands_before_install)
  }

  provisioner "file" {
    sources     = compact(["${path.root}/files", var.bake_file, var.buildkitd_config, var.buildkit_archive])
    destination = "${local.upload}/"
  }

  provisioner "file" {
    source      = var.cachewarm_binary
    destination = "${local.upload}/cachewarm"
  }

  provisioner "shell" {
    remote_folder   = "/var/tmp"
    execute_command = local.as_root
    environment_vars = [
      "BUILDKIT_VERSION=${var.buildkit_version}",
      "BUILDKIT_SHA256=${var.buildkit_sha256}",
      "BUILDKIT_URL=${var.buildkit_url}",
      "BUILDKIT_ARCHIVE=${var.buildkit_archive == "" ? "" : "${local.upload}/${basename(var.buildkit_archive)}"}",
      "BUILDKITD_CONFIG=${var.buildkitd_config == "" ? "" : "${local.upload}/${basename(var.buildkitd_config)}"}",
      "BUILDER_USERS=${join(" ", var.builder_users)}",
    ]
    script = "${path.root}/scripts/install.sh"
  }

  provisioner "shell" {
    remote_folder    = "/var/tmp"
    execute_command  = local.as_root
    environment_vars = local.settings
    script           = "${path.root}/scripts/warm.sh"
  }

  provisioner "shell" {
    remote_folder   = "/var/tmp"
    execute_command = local.as_root
    inline          = concat([": what else the image needs"], var.commands_before_seal)
  }

  # The last that runs on the machine. What comes after it only reads, and removes Packer's own key.
  provisioner "shell" {
    remote_folder    = "/var/tmp"
    execute_command  = local.as_root
    environment_vars = local.settings
    script           = "${path.root}/scripts/seal.sh"
  }

  provisioner "file" {
    direction   = "download"
    source      = "/var/lib/cachewarm/sealed.json"
    destination = "${var.output_dir}/sealed.json"
  }

  post-processors {
    post-processor "manifest" {
      output     = "${var.output_dir}/manifest.json"
      strip_path = true
      custom_data = {
        repo       = var.repo
        rev        = var.rev
        cache_from = join(" ", var.cache_from)
      }
    }

    # What was only known once the cache was warm.
    post-processor "shell-local" {
      environment_vars = [
        "OUTPUT_DIR=${var.output_dir}",
        "ENDPOINT_EC2=${var.custom_endpoint_ec2}",
      ]
      script = "${path.root}/scripts/tag.sh"
    }
  }
}
