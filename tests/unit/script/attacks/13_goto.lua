-- expect: killed, without a pause
local dev = ...
::again::
goto again
