/* Says what the machine looks like to a program: `machine SUBJECT...`. Names that begin with `i386` go by the door of 32-bit
   programs; they use static memory, which has addresses of 32 bits. Link with -static -no-pie. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static char memory[1 << 16];

static long i386(long number, long first, long second, long third)
{
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static void names(int width, int count)
{
	for (int i = 0; i < count; i++)
		printf("%s%c", memory + i * width, i + 1 < count ? '|' : '\n');
}

static void uname_of(long number, int width, int count)
{
	memset(memory, '-', sizeof memory);
	long result = number ? i386(number, (long)memory, 0, 0) : syscall(SYS_uname, memory);
	if (result)
		printf("uname %ld\n", result);
	else
		names(width, count);
}

static void clocks(void)
{
	struct timespec monotonic, boot;
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	printf("%ld %ld\n", monotonic.tv_sec, boot.tv_sec);
}

static void cpus(long length)
{
	int count = 0;
	for (long byte = 0; byte < length; byte++)
		count += __builtin_popcount((unsigned char)memory[byte]);
	printf("%ld bytes, %d\n", length, count);
}

static uint32_t word(int at)
{
	uint32_t number;
	memcpy(&number, memory + at, sizeof number);
	return number;
}

static void memory_size(void)
{
	struct sysinfo info;
	sysinfo(&info);
	printf("%lu of %lu\n", info.freeram * info.mem_unit >> 20, info.totalram * info.mem_unit >> 20);
}

static void i386_memory_size(void)
{
	long result = i386(116, (long)memory, 0, 0);
	printf("%ld %u pages\n", result, word(16) / (4096 / word(52)));
}

/* The names of a directory, read through a buffer for a few of them, by a thread that is not the first. */
struct listing {
	const char *directory;
	int door;
};

static void *list(void *what)
{
	struct listing *listing = what;
	int fd = open(listing->directory, O_RDONLY | O_DIRECTORY);
	long length;
	for (;;) {
		if (listing->door == 220)
			length = i386(220, fd, (long)memory, 128);
		else
			length = syscall(listing->door, fd, memory, 128);
		if (length <= 0)
			break;
		for (long at = 0; at < length; at += *(unsigned short *)(memory + at + 16))
			printf("%s ", memory + at + (listing->door == SYS_getdents ? 18 : 19));
	}
	printf("%ld\n", length);
	close(fd);
	return NULL;
}

static void list_in_thread(const char *directory, int door)
{
	struct listing listing = { directory, door };
	pthread_t thread;
	pthread_create(&thread, NULL, list, &listing);
	pthread_join(thread, NULL);
}

/* Goes back to where it was after some names, with what the C library keeps. */
static void again(const char *directory)
{
	DIR *open = opendir(directory);
	for (int i = 0; i < 5; i++)
		readdir(open);
	long place = telldir(open);
	char first[2][300] = { "", "" };
	for (int i = 0; i < 2; i++) {
		strcpy(first[i], readdir(open)->d_name);
		while (readdir(open))
			;
		seekdir(open, place);
	}
	printf("%s\n", strcmp(first[0], first[1]) ? "another" : "the same");
	int copy = dup(dirfd(open));
	rewinddir(open);
	long length = syscall(SYS_getdents64, copy, memory, 32), rest;
	printf("%ld ", length);
	rest = syscall(SYS_getdents64, dirfd(open), memory, 24);
	printf("%s ", rest == 24 ? memory + 19 : "lost");
	length = syscall(SYS_getdents64, copy, memory, 20);
	printf("%ld %d\n", length, errno);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *subject = argv[i];
		if (!strcmp(subject, "uname"))
			uname_of(0, 65, 6);
		else if (!strcmp(subject, "i386-uname"))
			uname_of(122, 65, 6);
		else if (!strcmp(subject, "i386-olduname"))
			uname_of(109, 65, 5);
		else if (!strcmp(subject, "i386-oldolduname"))
			uname_of(59, 9, 5);
		else if (!strcmp(subject, "bad-uname"))
			printf("%s\n", syscall(SYS_uname, 8L) < 0 && errno == EFAULT ? "EFAULT" : "done");
		else if (!strcmp(subject, "clocks"))
			clocks();
		else if (!strcmp(subject, "cpus"))
			cpus(syscall(SYS_sched_getaffinity, 0, sizeof memory, memory));
		else if (!strcmp(subject, "i386-cpus"))
			cpus(i386(242, 0, 8, (long)memory));
		else if (!strcmp(subject, "memory"))
			memory_size();
		else if (!strcmp(subject, "i386-memory"))
			i386_memory_size();
		else if (!strcmp(subject, "list"))
			list_in_thread(argv[++i], SYS_getdents64);
		else if (!strcmp(subject, "old-list"))
			list_in_thread(argv[++i], SYS_getdents);
		else if (!strcmp(subject, "i386-list"))
			list_in_thread(argv[++i], 220);
		else if (!strcmp(subject, "again"))
			again(argv[++i]);
		else
			return 2;
	}
	return 0;
}
