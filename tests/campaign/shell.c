/* The shell of the images that bake.py makes up: it runs nothing. What it was asked to run, and its environment, decide what
 * it writes: their hash, as each file that later lines take, or as the name of a file in each directory (/.wanted). */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static uint64_t hashed(uint64_t hash, char **words) {
  for (; *words; words++)
    for (const char *at = *words;; at++) {
      hash = (hash ^ (unsigned char)*at) * 1099511628211u;
      if (!*at) break;
    }
  return hash;
}

static void make(char *path, const char *name) {
  for (char *at = path + 1; *at; at++)
    if (*at == '/') {
      *at = 0;
      mkdir(path, 0755);
      *at = '/';
    }
  struct stat there;
  int is_there = stat(path, &there) == 0, is_file = is_there ? S_ISREG(there.st_mode) : strchr(strrchr(path, '/') + 2, '.') != NULL;
  char file[5000];
  snprintf(file, sizeof file, is_file ? "%s" : "%s/%s", path, name);
  if (is_file && is_there) return;
  if (!is_file) mkdir(path, 0755);
  int made = open(file, O_CREAT | O_WRONLY, 0644);
  if (made < 0) return;
  if (write(made, name, strlen(name)) < 0) perror(path);
  close(made);
}

int main(int count, char **arguments) {
  (void)count;
  char name[32], path[4096];
  snprintf(name, sizeof name, ".%016llx", (unsigned long long)hashed(hashed(14695981039346656037u, arguments), environ));
  FILE *wanted = fopen("/.wanted", "r");
  if (!wanted) return 0;
  while (fgets(path, sizeof path, wanted)) {
    path[strcspn(path, "\n")] = 0;
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') path[--length] = 0;
    if (length > 1) make(path, name);
  }
  return 0;
}
