#pragma once

namespace tetrad::parallel {

/// Open MPI listens for TCP on every interface, even where nobody will call. Ranks of one host have
/// shared memory, and nothing else unless somebody has chosen for them. Called before MPI starts,
/// while this process has one thread.
void prefer_shared_memory();

}  // namespace tetrad::parallel
