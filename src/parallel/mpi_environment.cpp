#include "parallel/mpi_environment.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace tetrad::parallel {

void prefer_shared_memory() {
  const char* here = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  const char* all = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (here == nullptr || all == nullptr || std::strcmp(here, all) != 0) return;
  for (const char* chosen : {"OMPI_MCA_pml", "OMPI_MCA_btl", "OMPI_MCA_mtl"}) {
    if (std::getenv(chosen) != nullptr) return;
  }
  ::setenv("OMPI_MCA_pml", "ob1", 0);
  ::setenv("OMPI_MCA_btl", "vader,self", 0);
}

}  // namespace tetrad::parallel
