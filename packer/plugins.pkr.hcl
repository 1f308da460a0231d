# Packer's plugin for AWS, for `packer init`. Packer 1.6.6 has it built in and does not know this block: leave this file out
# there.
packer {
  required_plugins {
    amazon = {
      version = ">= 1.2.8"
      source  = "github.com/hashicorp/amazon"
    }
  }
}
