#!/usr/bin/env bash
# An "instance" for tests/packer.sh: instance.sh FOLDER [STATE_DISK]. Run as the first process of its own process and mount
# namespaces, so that it goes, with all that runs and is mounted in it, when that process does.
#
# It is a private copy of this machine: an overlay on /, in which homes, logs, /opt and the like are empty, /var/lib/buildkit
# is FOLDER/buildkit (or the file system in the file STATE_DISK), and only sshd runs. The user `ubuntu` may use sudo; its key
# is the one that EC2 has, put in place at the first log-in as cloud-init would. FOLDER/ready appears when sshd listens.
set -euo pipefail
folder=$1 disk=${2-}
layer=$folder/layer
root=$folder/root
mkdir -p "$layer" "$root" "$folder/work" "$folder/buildkit"

# Directories of the copy that hide those of the machine.
empty() {
  mkdir -p "$layer$1"
  chmod "$2" "$layer$1"
  python3 -c 'import os, sys; os.setxattr(sys.argv[1], "trusted.overlay.opaque", b"y")' "$layer$1"
}
for directory in /home /opt /srv /media /mnt /var/log /var/lib/cloud /var/lib/cachewarm /etc/buildkit /etc/docker; do
  empty $directory 755
done
empty /root 700
# What no image has, but a machine that builds and tests may.
for directory in /*/; do
  case $directory in
    /bin/ | /boot/ | /dev/ | /etc/ | /home/ | /lib*/ | /media/ | /mnt/ | /opt/ | /proc/ | /root/ | /run/ | /sbin/ | /srv/ | /sys/ | /tmp/ | /usr/ | /var/) ;;
    *) empty "${directory%/}" 755 ;;
  esac
done
empty /tmp 1777
empty /var/tmp 1777
mkdir -p "$layer/var/lib/buildkit"

mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer,workdir=$folder/work" "$root" 2>"$folder/problem" || {
  echo "error: no overlay on / can be mounted here: $(cat "$folder/problem")" >&2
  echo "hint: run the test where / and $folder are no overlays of two levels already, or set TMPDIR to another disk" >&2
  exit 1
}
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
# As Debian and Ubuntu mount it.
mount -t tmpfs tmpfs "$root/run" -o mode=755,nosuid,nodev,noexec
mkdir "$root/run/lab"
mount -t tmpfs tmpfs "$root/run/lab" -o mode=755
if [ -n "$disk" ]; then
  mount -o loop "$disk" "$root/var/lib/buildkit"
else
  mount --bind "$folder/buildkit" "$root/var/lib/buildkit"
fi

# What an image has: names, the lab's authority, a user.
install -d -m 755 "$root/run/sshd"
printf '127.0.0.1 localhost %s %s\n' "$(hostname)" "$(cat "$folder/../names")" >"$root/etc/hosts"
cp "$folder/../bundle.pem" "$root/etc/ssl/certs/ca-certificates.crt"
: >"$root/etc/environment"
printf 'ubuntu ALL=(ALL) NOPASSWD:ALL\n' >"$root/etc/sudoers.d/90-cloud-init-users"
chmod 440 "$root/etc/sudoers.d/90-cloud-init-users"
chroot "$root" useradd -m -s /bin/bash ubuntu
chroot "$root" usermod -p '*' ubuntu
rm -f "$root"/etc/ssh/ssh_host_* "$root/usr/local/bin/cachewarm"
ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key"
cat >"$root/run/lab/keys" <<'END'
#!/bin/sh
# The first log-in: the key of EC2 into the user's home. Later ones find it there, or not.
[ ! -e /run/lab/booted ] || exit 0
install -d -m 700 -o ubuntu -g ubuntu /home/ubuntu/.ssh
curl -s http://127.0.0.1:5600/ -H 'Authorization: AWS4-HMAC-SHA256 Credential=lab/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=00' \
  -d 'Action=DescribeKeyPairs&Version=2016-11-15&IncludePublicKey=true' | grep -oE 'ssh-(rsa|ed25519) [A-Za-z0-9+/=]+' |
  tee /home/ubuntu/.ssh/authorized_keys
chown ubuntu:ubuntu /home/ubuntu/.ssh/authorized_keys
chmod 600 /home/ubuntu/.ssh/authorized_keys
touch /run/lab/booted
END
chmod 755 "$root/run/lab/keys"
cat >"$root/run/lab/sshd_config" <<'END'
Port 22
ListenAddress 0.0.0.0
PidFile none
AuthorizedKeysCommand /run/lab/keys
AuthorizedKeysCommandUser root
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
Subsystem sftp internal-sftp
END

cd "$root"
mkdir -p run/lab/machine
pivot_root . run/lab/machine
umount -l /run/lab/machine
rmdir /run/lab/machine
# First process of the instance: nothing of the lab's environment gets in.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/sshd -D -e -f /run/lab/sshd_config
