# Sets GRADORACLE_COMMIT: the short commit of the source tree, empty when it is not a git checkout (a release archive,
# an image's build stage). Taken at configure time, so that a commit does not rebuild the world.
set(GRADORACLE_COMMIT "")
find_package(Git QUIET)
if(GIT_FOUND AND EXISTS ${PROJECT_SOURCE_DIR}/.git)
  execute_process(
    COMMAND ${GIT_EXECUTABLE} rev-parse --short=7 HEAD
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    OUTPUT_VARIABLE GRADORACLE_COMMIT
    OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET)
endif()
