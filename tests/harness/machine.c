/* Says what the machine looks like to a program: `machine SUBJECT...`. Names that begin with `i386` go by the door of 32-bit
   programs; they use static memory, which has addresses of 32 bits. Link with -static -no-pie. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
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

static void space(long result, struct statfs *fs)
{
	if (result)
		printf("error %d\n", errno);
	else
		printf("%lx %ld %ld %ld %ld %ld %ld %d %ld %ld %lx\n", (long)fs->f_type, (long)fs->f_bsize, (long)fs->f_blocks,
		       (long)fs->f_bfree, (long)fs->f_bavail, (long)fs->f_files, (long)fs->f_ffree, fs->f_fsid.__val[0] | fs->f_fsid.__val[1],
		       (long)fs->f_namelen, (long)fs->f_frsize, (long)fs->f_flags);
}

/* By its path, and by a descriptor that is open for reading or only stands for the file. */
static void space_of(const char *path)
{
	struct statfs fs;
	memset(&fs, '-', sizeof fs);
	space(statfs(path, &fs), &fs);
	for (int way = 0; way < 2; way++) {
		memset(&fs, '-', sizeof fs);
		int fd = open(path, way ? O_PATH : O_RDONLY);
		space(fstatfs(fd, &fs), &fs);
		close(fd);
	}
}

/* The same by the calls of 32 bits, of old and with counts of 64 bits; kinds and blocks only. */
static void i386_space_of(const char *path)
{
	char *name = strcpy(memory + 4096, path);
	int fd = open(path, O_RDONLY);
	long results[4];
	for (int way = 0; way < 4; way++) {
		memset(memory, '-', 4096);
		if (way == 0)
			results[way] = i386(99, (long)name, (long)memory, 0);
		else if (way == 1)
			results[way] = i386(100, fd, (long)memory, 0);
		else
			results[way] = i386(way == 2 ? 268 : 269, way == 2 ? (long)name : fd, 84, (long)memory);
		printf("%ld %x %u %u %x|", results[way], word(0), word(8), word(way < 2 ? 20 : 32), word(way < 2 ? 64 : 84));
	}
	printf("%ld %ld %ld\n", i386(268, (long)name, 80, (long)memory), i386(269, -1, 84, (long)memory), i386(62, 0, (long)memory, 0));
	close(fd);
}

/* What is wrong: no path, no room for the answer, no descriptor, a path without an end, no file, and a call that is not there. */
static void bad_space(void)
{
	long ways[][3] = {
		{ SYS_statfs, 8, (long)memory }, { SYS_statfs, (long)"/", 8 },	 { SYS_fstatfs, 1000, (long)memory },
		{ SYS_fstatfs, -1, (long)memory }, { SYS_statfs, (long)memory, (long)memory }, { SYS_statfs, (long)"", (long)memory },
		{ SYS_statfs, (long)"/no/file", (long)memory }, { SYS_statfs, (long)"/bin/machine/", (long)memory },
#ifdef SYS_ustat
		{ SYS_ustat, 1, (long)memory },
#else
		{ -1, 0, 0 },
#endif
	};
	memset(memory, 'x', sizeof memory - 1);
	for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
		printf("%d ", syscall(ways[i][0], ways[i][1], ways[i][2]) < 0 ? errno : 0);
	printf("\n");
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

/* The seconds of each way to ask, and the difference of a fraction to the one before. */
static void clock_of_the_day(void)
{
	struct timespec now, coarse, raw;
	struct timeval micro;
	long seconds, of_call;
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_REALTIME_COARSE, &coarse);
	gettimeofday(&micro, NULL);
	seconds = time(NULL);
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &raw);
	syscall(SYS_time, &of_call);
	printf("%ld %ld %ld %ld %ld %ld\n", now.tv_sec, coarse.tv_sec, micro.tv_sec, seconds, raw.tv_sec, of_call);
	struct timex timex = { 0 };
	printf("%s\n", adjtimex(&timex) < 0 ? "refused" : "told");
}

static void i386_clock_of_the_day(void)
{
	int first, second, third;
	long result = i386(265, 0, (long)memory, 0);
	first = word(0);
	i386(403, 0, (long)memory, 0);
	second = word(0);
	i386(78, (long)memory, 0, 0);
	third = word(0);
	printf("%ld %d %d %d %ld\n", result, first, second, third, i386(13, 0, 0, 0));
}

static long elapsed(struct timespec since)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since.tv_sec) * 1000 + (now.tv_nsec - since.tv_nsec) / 1000000;
}

/* Waits until 300 ms from now in all ways that take a time of the day: milliseconds that each took. */
static void deadlines(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	sem_t semaphore;
	uint64_t expirations;
	sem_init(&semaphore, 0, 0);
	pthread_mutex_lock(&mutex);
	for (int way = 0; way < 4; way++) {
		struct timespec start, end;
		clock_gettime(CLOCK_MONOTONIC, &start);
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_nsec += 300000000;
		end.tv_sec += end.tv_nsec / 1000000000;
		end.tv_nsec %= 1000000000;
		struct itimerspec timer = { .it_value = end };
		int fd = timerfd_create(CLOCK_REALTIME, 0);
		if (way == 0)
			pthread_cond_timedwait(&condition, &mutex, &end);
		else if (way == 1)
			sem_timedwait(&semaphore, &end);
		else if (way == 2)
			clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, NULL);
		else {
			timerfd_settime(fd, TFD_TIMER_ABSTIME, &timer, NULL);
			read(fd, &expirations, sizeof expirations);
		}
		printf("%ld ", elapsed(start));
	}
	printf("\n");
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
		else if (!strcmp(subject, "space"))
			space_of(argv[++i]);
		else if (!strcmp(subject, "i386-space"))
			i386_space_of(argv[++i]);
		else if (!strcmp(subject, "bad-space"))
			bad_space();
		else if (!strcmp(subject, "list"))
			list_in_thread(argv[++i], SYS_getdents64);
		else if (!strcmp(subject, "old-list"))
			list_in_thread(argv[++i], SYS_getdents);
		else if (!strcmp(subject, "i386-list"))
			list_in_thread(argv[++i], 220);
		else if (!strcmp(subject, "again"))
			again(argv[++i]);
		else if (!strcmp(subject, "clock"))
			clock_of_the_day();
		else if (!strcmp(subject, "i386-clock"))
			i386_clock_of_the_day();
		else if (!strcmp(subject, "deadlines"))
			deadlines();
		else
			return 2;
	}
	return 0;
}
