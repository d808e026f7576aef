#include "client/optimise/trainer.h"
#include "gtest/gtest.h"
